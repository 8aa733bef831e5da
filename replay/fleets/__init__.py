"""What a change of policy does over many guests: tables of a batch's results, and how sure they are."""

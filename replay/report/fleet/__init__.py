"""The page of many guests."""

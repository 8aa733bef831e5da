"""Pages about Pagetide, and what makes or checks them."""

"""What people gave: collected, split for good, reviewed, and prepared for the stages."""

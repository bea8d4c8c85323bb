"""Label Studio's side: its projects, their labelling configuration, and what is stored in them for people."""

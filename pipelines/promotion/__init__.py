"""Who serves: the gate, its decisions, and the registry with its versions and changes."""

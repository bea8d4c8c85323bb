"""maskloop: click-to-mask models that get better as people label."""

"""The built-in handlers: they do the real thing, with the resources of their worker."""

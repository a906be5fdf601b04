"""How a durable handler is tested: a handler, and a test file to copy."""

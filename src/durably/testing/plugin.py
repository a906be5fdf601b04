"""The pytest plugin: fixtures for tests of durable handlers."""

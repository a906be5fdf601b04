"""Spans, metrics and log fields for executions and steps (extra durably[otel])."""

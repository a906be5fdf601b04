"""The web page of executions (extra durably[web])."""

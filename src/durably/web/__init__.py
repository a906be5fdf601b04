"""The web page of executions (extra durably[web]): `durably web`, or `app.create_app(store)` in a server of one's own."""

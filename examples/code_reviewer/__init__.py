"""A code reviewer for pull requests, durable: the webhook, the reviewer and what they call. See README.md."""

"""From the journal to what people read: rows, waterfall, graph. CLI and web page show the same."""

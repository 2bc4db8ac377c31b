"""The settings of `node.toml`, as a frozen tree."""

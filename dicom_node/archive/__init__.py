"""Archives that are asked for what they hold."""

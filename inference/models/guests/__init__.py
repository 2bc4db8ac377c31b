"""Networks that others trained, run as their own programs run them, and judged as ours."""

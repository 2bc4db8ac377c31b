"""The hospital shell: wire, disk, queue, objects, delivery and the command line."""

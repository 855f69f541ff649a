"""Before-and-after reports: one numbers object, thin renderers."""

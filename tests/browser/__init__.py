"""The reports as a person meets them: opened from disk in Debian's Chromium."""

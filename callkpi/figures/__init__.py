"""Every figure that can be asked, of any window, and the calls behind it."""

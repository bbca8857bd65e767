"""Generated from proto/ by `./dev proto`. Never edited."""

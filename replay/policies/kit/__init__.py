"""What policies are built of: delayed work and its timers, hints and what they are kept in."""

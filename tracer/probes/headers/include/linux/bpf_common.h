/* Must exist for BCC; nothing of it is needed. */

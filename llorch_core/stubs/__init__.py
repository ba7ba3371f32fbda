"""Which tests cannot fail? Read from the syntax tree; nothing that is judged is imported or run."""

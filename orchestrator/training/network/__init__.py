"""Networks in named blocks: what they are built from, start from, freeze and cost."""

"""Facts about models: prices, context windows, abilities and token counts."""

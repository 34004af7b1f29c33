"""All models on one scale: reference rows, tables, the page, published figures."""

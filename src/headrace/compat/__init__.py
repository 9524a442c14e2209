"""Other packages' Python interfaces, spoken by headrace."""

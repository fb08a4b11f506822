locals { a = 1e999999999 } # error: Number too large

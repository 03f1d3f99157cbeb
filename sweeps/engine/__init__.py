"""How a question is run: space, search, programme, lanes, ledger."""

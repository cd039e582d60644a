package login

// BudgetOf is the key of an account's budget.
func (f *Flow) BudgetOf(account string) BudgetKey { return f.key("account", account) }

package api

func (a *API) describe() []byte { return nil }

package seal

// TOTPPurpose is the purpose of Seal for the secret of a user's authenticator app: it binds it to the user.
func TOTPPurpose(userID string) string { return "totp " + userID }

// Package dashboard serves the settings pages: the visitor's account, workspaces with their members, usage and audit
// logs, API keys, personal access tokens, and apps. It reads forms and shows the results; what is allowed, and the
// changes themselves, are the duty of package management.
package dashboard

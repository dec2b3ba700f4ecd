// Package dashboard serves the settings pages: the visitor's account, workspaces with their members, usage and audit
// logs, API keys, personal access tokens, and apps. It reads forms and shows the results; package management decides
// and makes the changes.
package dashboard

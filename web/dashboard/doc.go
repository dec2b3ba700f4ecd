// Package dashboard serves the settings: a person's account, their workspaces with members, usage and audit log, API
// keys,
// personal access tokens, and apps. It shows and checks what people type; what may be done, and does it, is package
// oauth's.
package dashboard

package templates

import (
	"context"
	"io"

	"github.com/a-h/templ"

	"doorward/locale"
)

// tr returns a message in the reader's language (locale.Locale.Text).
func tr(ctx context.Context, format string, args ...any) string {
	return locale.From(ctx).Text(format, args...)
}

// of returns a text from outside this package in the reader's language.
func of(ctx context.Context, t locale.Text) string { return locale.From(ctx).Of(t) }

// sentence is a message with markup around its arguments. An argument is a templ.Component, or what locale.Locale.Text
// accepts.
func sentence(format string, args ...any) templ.Component {
	return templ.ComponentFunc(func(ctx context.Context, w io.Writer) error {
		l := locale.From(ctx)
		write := func(text string) error {
			_, err := io.WriteString(w, templ.EscapeString(text))
			return err
		}
		return l.Parts(format, args, write, func(i int) error {
			if i >= len(args) {
				return nil
			}
			if c, ok := args[i].(templ.Component); ok {
				return c.Render(ctx, w)
			}
			return write(l.Argument(args[i]))
		})
	})
}

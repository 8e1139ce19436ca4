// SPDX-License-Identifier: Apache-2.0

package oracle

import (
	"context"

	"kmend/internal/compiler"
)

// Level is a level of -flive-patching as one compiler keeps it.
type Level struct {
	compiler.Level
	Flags []string // that make it, behind the options of a unit's own build
}

// FactsOff reports whether no facts about other functions are used at the level.
func (l Level) FactsOff() bool { return l.Level >= compiler.InlineClone }

// LevelOf asks a compiler for its flags of a level. The error is a
// *compiler.LevelError if it has none.
func LevelOf(ctx context.Context, c *compiler.Compiler, level compiler.Level) (Level, error) {
	flags, err := c.LevelFlags(ctx, level)
	return Level{level, flags}, err
}

// Package types has the shapes of the contract that Go has no own ones for, as the generated code
// expects them.
package types

// Unit holds nothing.
type Unit struct{}

// Tuple2 holds two values.
type Tuple2[T0, T1 any] struct {
	F0 T0
	F1 T1
}

// The two cases of an option.
const (
	OptionNone uint8 = iota
	OptionSome
)

// Option holds a value or none.
type Option[T any] struct {
	tag   uint8
	value T
}

// None is no value.
func None[T any]() Option[T] { return Option[T]{} }

// Some is a value.
func Some[T any](value T) Option[T] { return Option[T]{OptionSome, value} }

// Tag says which case it is.
func (o Option[T]) Tag() uint8 { return o.tag }

// Some gives the value; without one it panics.
func (o Option[T]) Some() T {
	if o.tag != OptionSome {
		panic("no value in this option")
	}
	return o.value
}

// SomeOr gives the value, or another one without it.
func (o Option[T]) SomeOr(other T) T {
	if o.tag != OptionSome {
		return other
	}
	return o.value
}

// The two cases of a result.
const (
	ResultOk uint8 = iota
	ResultErr
)

// Result holds what came of it or what went wrong.
type Result[T, E any] struct {
	tag   uint8
	ok    T
	wrong E
}

// Ok is what came of it.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{tag: ResultOk, ok: value} }

// Err is what went wrong.
func Err[T, E any](wrong E) Result[T, E] { return Result[T, E]{tag: ResultErr, wrong: wrong} }

// Tag says which case it is.
func (r Result[T, E]) Tag() uint8 { return r.tag }

// Ok gives what came of it; if it went wrong it panics.
func (r Result[T, E]) Ok() T {
	if r.tag != ResultOk {
		panic("this result is an error")
	}
	return r.ok
}

// Err gives what went wrong; if nothing did it panics.
func (r Result[T, E]) Err() E {
	if r.tag != ResultErr {
		panic("this result is no error")
	}
	return r.wrong
}

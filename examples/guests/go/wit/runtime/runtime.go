// Package runtime stands in for the one that code written by `wit-bindgen go` expects: arguments
// are bump-allocated from a chunk made ahead of the call, so no collection starts inside
// cabi_realloc, and each call lets the scheduler run once. Beside it lies an empty .s file, as Go
// asks for functions without a body.
package runtime

import (
	"runtime"
	"unsafe"
)

type Handle struct{ value int32 }

func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("nil handle")
	}
	return h.value
}

func (h *Handle) Take() int32 { v := h.Use(); h.value = 0; return v }

func (h *Handle) Set(value int32) {
	if value == 0 || h.value != 0 {
		panic("bad handle")
	}
	h.value = value
}

func (h *Handle) TakeOrNil() int32 { v := h.value; h.value = 0; return v }

func MakeHandle(value int32) *Handle {
	if value == 0 {
		panic("nil handle")
	}
	return &Handle{value}
}

// Allocate gives memory for a result; it lives until the pinner is unpinned.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	if size == 0 {
		return nil
	}
	p := unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	pinner.Pin(p)
	return p
}

//go:linkname sbrk runtime.sbrk
func sbrk(n uintptr) unsafe.Pointer

const minChunk = 128 << 10

var (
	ready  bool     // the Go runtime is up
	chunk  []uint64 // made ahead, outside cabi_realloc
	used   uintptr
	asked  uintptr // bytes asked for in this call
	target uintptr = minChunk

	spare, spareEnd uintptr // memory outside the Go heap, for the calls that outgrow the chunk
)

func init() {
	chunk = make([]uint64, target/8)
	ready = true
}

// No Go allocation happens here: a component may not call imports now, and the collector would.
//
//go:wasmexport cabi_realloc
func cabiRealloc(old unsafe.Pointer, oldSize, align, newSize uintptr) unsafe.Pointer {
	if newSize == 0 {
		return unsafe.Pointer(align)
	}
	var p unsafe.Pointer
	at := (used + align - 1) &^ (align - 1)
	asked += newSize + align
	if ready && at+newSize <= uintptr(len(chunk))*8 {
		p = unsafe.Add(unsafe.Pointer(unsafe.SliceData(chunk)), at)
		used = at + newSize
	} else {
		// sbrk hands out whole pages of 64 KiB, so take much at once and cut it up
		q := (spare + align - 1) &^ (align - 1)
		if spare == 0 || q+newSize > spareEnd {
			n := newSize + align
			if ready && n < 1<<20 {
				n = 1 << 20
			}
			spare = uintptr(sbrk(n))
			if spare == 0 {
				panic("out of memory")
			}
			spareEnd = spare + n
			q = (spare + align - 1) &^ (align - 1)
		}
		p = unsafe.Pointer(q)
		spare = q + newSize
	}
	if oldSize != 0 {
		copy(unsafe.Slice((*byte)(p), newSize), unsafe.Slice((*byte)(old), oldSize))
	}
	return p
}

// Unpin is called by the generated code when the arguments of a call have become Go values.
func Unpin() {
	if asked*2 > target {
		target = asked * 2
	}
	if used+asked+asked/2 > uintptr(len(chunk))*8 {
		chunk = make([]uint64, (target+7)/8)
		used = 0
	}
	asked = 0
	runtime.Gosched()
}

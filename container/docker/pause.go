// SPDX-License-Identifier: Apache-2.0

package docker

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"unsafe"
)

// loadAddress is where the program is mapped, header and all.
const loadAddress = 0x400000

// pauseCode is, by architecture, a program that blocks SIGINT and SIGTERM, waits for one of them and exits with 0.
// They must be blocked: the kernel drops signals to the first process of a namespace that neither handles nor blocks them.
func pauseCode(arch string) (elf.Machine, []byte, error) {
	switch arch {
	case "amd64":
		return elf.EM_X86_64, []byte{
			0x31, 0xff, // xor edi, edi            SIG_BLOCK
			0x48, 0x8d, 0x35, 0x37, 0, 0, 0, // lea rsi, [rip+set]
			0x31, 0xd2, // xor edx, edx
			0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
			0xb8, 14, 0, 0, 0, // mov eax, rt_sigprocmask
			0x0f, 0x05, // syscall
			0x48, 0x8d, 0x3d, 0x21, 0, 0, 0, // wait: lea rdi, [rip+set]
			0x31, 0xf6, // xor esi, esi
			0x31, 0xd2, // xor edx, edx
			0x41, 0xba, 8, 0, 0, 0, // mov r10d, 8
			0xb8, 128, 0, 0, 0, // mov eax, rt_sigtimedwait
			0x0f, 0x05, // syscall
			0x85, 0xc0, // test eax, eax
			0x7c, 0xe4, // jl wait                 interrupted
			0x31, 0xff, // xor edi, edi
			0xb8, 231, 0, 0, 0, // mov eax, exit_group
			0x0f, 0x05, // syscall
			0x90, 0x90, 0x90,
			0x02, 0x40, 0, 0, 0, 0, 0, 0, // set: SIGINT | SIGTERM
		}, nil
	case "arm64":
		return elf.EM_AARCH64, words(
			0xaa1f03e0, // mov x0, xzr           SIG_BLOCK
			0x10000221, // adr x1, set
			0xaa1f03e2, // mov x2, xzr
			0xb27d03e3, // mov x3, 8
			0xd28010e8, // mov x8, rt_sigprocmask
			0xd4000001, // svc 0
			0x10000180, // wait: adr x0, set
			0xaa1f03e1, // mov x1, xzr
			0xaa1f03e2, // mov x2, xzr
			0xb27d03e3, // mov x3, 8
			0xd2801128, // mov x8, rt_sigtimedwait
			0xd4000001, // svc 0
			0x7100001f, // cmp w0, 0
			0x54ffff2b, // b.lt wait             interrupted
			0xaa1f03e0, // mov x0, xzr
			0xd2800bc8, // mov x8, exit_group
			0xd4000001, // svc 0
			0xd503201f, // nop
			0x00004002, // set: SIGINT | SIGTERM
			0x00000000,
		), nil
	}
	return 0, nil, fmt.Errorf("no holder program for architecture %s: have amd64 and arm64", arch)
}

func words(code ...uint32) []byte {
	var b bytes.Buffer
	for _, w := range code {
		b.Write(binary.LittleEndian.AppendUint32(nil, w))
	}
	return b.Bytes()
}

// PauseProgram returns the holder's program for an architecture, a static executable of about 200 bytes.
func PauseProgram(arch string) ([]byte, error) {
	machine, code, err := pauseCode(arch)
	if err != nil {
		return nil, err
	}
	const headers = uint64(unsafe.Sizeof(elf.Header64{}) + unsafe.Sizeof(elf.Prog64{}))
	size := headers + uint64(len(code))
	var file bytes.Buffer
	header := elf.Header64{
		Ident: [elf.EI_NIDENT]byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), byte(elf.EV_CURRENT)},
		Type:  uint16(elf.ET_EXEC), Machine: uint16(machine), Version: uint32(elf.EV_CURRENT),
		Entry: loadAddress + headers, Phoff: uint64(unsafe.Sizeof(elf.Header64{})),
		Ehsize: uint16(unsafe.Sizeof(elf.Header64{})), Phentsize: uint16(unsafe.Sizeof(elf.Prog64{})), Phnum: 1,
	}
	segment := elf.Prog64{
		Type: uint32(elf.PT_LOAD), Flags: uint32(elf.PF_R | elf.PF_X),
		Vaddr: loadAddress, Paddr: loadAddress, Filesz: size, Memsz: size, Align: 0x10000,
	}
	for _, part := range []any{header, segment, code} {
		if err := binary.Write(&file, binary.LittleEndian, part); err != nil {
			return nil, fmt.Errorf("write holder program: %w", err)
		}
	}
	return file.Bytes(), nil
}

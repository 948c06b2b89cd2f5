/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The control and status registers that tests use, with their numbers and
 * fields of the privileged specification, and how to access them.
 */
#ifndef _TOOLS_ASM_RISCV_CSR_H
#define _TOOLS_ASM_RISCV_CSR_H

#include <linux/const.h>
#include <linux/stringify.h>

/* Numbers */
#define CSR_TIME		0xc01
#define CSR_VLENB		0xc22
#define CSR_SSTATUS		0x100
#define CSR_SIE			0x104
#define CSR_STVEC		0x105
#define CSR_SSTATEEN0		0x10c
#define CSR_SSCRATCH		0x140
#define CSR_SEPC		0x141
#define CSR_SCAUSE		0x142
#define CSR_SIP			0x144
#define CSR_SISELECT		0x150
#define CSR_SATP		0x180
#define CSR_STOPI		0xdb0

/* sstatus */
#define SR_SIE			_AC(0x00000002, UL)
#define SR_VS			_AC(0x00000600, UL)
#define SR_FS			_AC(0x00006000, UL)

/* satp, of a 64-bit hart */
#define SATP_MODE_48		_AC(0x9000000000000000, UL)
#define SATP_PPN		_AC(0x00000FFFFFFFFFFF, UL)

/* sie */
#define IE_TIE			(_AC(1, UL) << 5)

/* scause */
#define EXC_INST_MISALIGNED	0
#define EXC_INST_ACCESS		1
#define EXC_INST_ILLEGAL	2
#define EXC_BREAKPOINT		3
#define EXC_LOAD_MISALIGNED	4
#define EXC_LOAD_ACCESS		5
#define EXC_STORE_MISALIGNED	6
#define EXC_STORE_ACCESS	7
#define EXC_INST_PAGE_FAULT	12
#define EXC_LOAD_PAGE_FAULT	13
#define EXC_STORE_PAGE_FAULT	15
#define EXC_VIRTUAL_INST_FAULT	22

#ifndef __ASSEMBLY__

#define csr_swap(csr, val)						\
({									\
	unsigned long __new = (unsigned long)(val), __old;		\
	asm volatile("csrrw %0, " __stringify(csr) ", %1"		\
		     : "=r" (__old) : "rK" (__new) : "memory");	\
	__old;								\
})

#define csr_read(csr)							\
({									\
	unsigned long __old;						\
	asm volatile("csrr %0, " __stringify(csr)			\
		     : "=r" (__old) : : "memory");			\
	__old;								\
})

#define csr_write(csr, val)						\
({									\
	asm volatile("csrw " __stringify(csr) ", %0"			\
		     : : "rK" ((unsigned long)(val)) : "memory");	\
})

#define csr_read_set(csr, bits)						\
({									\
	unsigned long __old, __bits = (unsigned long)(bits);		\
	asm volatile("csrrs %0, " __stringify(csr) ", %1"		\
		     : "=r" (__old) : "rK" (__bits) : "memory");	\
	__old;								\
})

#define csr_set(csr, bits)						\
({									\
	asm volatile("csrs " __stringify(csr) ", %0"			\
		     : : "rK" ((unsigned long)(bits)) : "memory");	\
})

#define csr_read_clear(csr, bits)					\
({									\
	unsigned long __old, __bits = (unsigned long)(bits);		\
	asm volatile("csrrc %0, " __stringify(csr) ", %1"		\
		     : "=r" (__old) : "rK" (__bits) : "memory");	\
	__old;								\
})

#define csr_clear(csr, bits)						\
({									\
	asm volatile("csrc " __stringify(csr) ", %0"			\
		     : : "rK" ((unsigned long)(bits)) : "memory");	\
})

#endif /* __ASSEMBLY__ */

#endif /* _TOOLS_ASM_RISCV_CSR_H */

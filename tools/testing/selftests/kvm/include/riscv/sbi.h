/* SPDX-License-Identifier: GPL-2.0 */
/*
 * RISC-V SBI: what guests of the selftests call, and how
 */
#ifndef SELFTEST_KVM_SBI_H
#define SELFTEST_KVM_SBI_H

#define SBI_SUCCESS				 0
#define SBI_ERR_FAILURE				-1
#define SBI_ERR_NOT_SUPPORTED			-2
#define SBI_ERR_INVALID_PARAM			-3
#define SBI_ERR_DENIED				-4
#define SBI_ERR_INVALID_ADDRESS			-5
#define SBI_ERR_ALREADY_AVAILABLE		-6

#define SBI_EXT_BASE				0x10
#define SBI_EXT_BASE_GET_SPEC_VERSION		0
#define SBI_EXT_BASE_PROBE_EXT			3

#define SBI_EXT_PMU				0x504D55
#define SBI_EXT_PMU_NUM_COUNTERS		0
#define SBI_EXT_PMU_COUNTER_CFG_MATCH		2
#define SBI_EXT_PMU_COUNTER_FW_READ		5

#define SBI_EXT_EXPERIMENTAL_START		0x08000000
#define SBI_EXT_EXPERIMENTAL_END		0x08FFFFFF

/* Calls that KVM hands to the test, see lib/riscv/ucall.c */
#define KVM_RISCV_SELFTESTS_SBI_EXT		SBI_EXT_EXPERIMENTAL_END
#define KVM_RISCV_SELFTESTS_SBI_UCALL		0
#define KVM_RISCV_SELFTESTS_SBI_UNEXP		1

struct sbiret {
	long error;
	long value;
};

struct sbiret sbi_ecall(int ext, int fid, unsigned long arg0,
			unsigned long arg1, unsigned long arg2,
			unsigned long arg3, unsigned long arg4,
			unsigned long arg5);

#endif /* SELFTEST_KVM_SBI_H */

// SPDX-License-Identifier: GPL-2.0
/*
 * Loaded into a VMM (LD_PRELOAD), sets registers of every vCPU that it creates:
 *
 *	KVM_SET_REGS="0x8030...=0x3 0x8030...=0"
 *
 * So the lab can mask what the distribution's QEMU does not know yet. A guest that
 * suspends itself by SBI is resumed at once, which KVM leaves to the VMM, too.
 *
 * It has to load with any C library, and so needs none but for errno.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>

#define SBI_EXT_SUSP	0x53555350
#define MAX_FD		1024

/* What KVM shares of each vCPU, by file descriptor */
static const struct kvm_run *runs[MAX_FD];

static long raw_syscall(long nr, long arg0, long arg1, long arg2, long arg3, long arg4,
			long arg5)
{
	register long a0 asm("a0") = arg0;
	register long a1 asm("a1") = arg1;
	register long a2 asm("a2") = arg2;
	register long a3 asm("a3") = arg3;
	register long a4 asm("a4") = arg4;
	register long a5 asm("a5") = arg5;
	register long a7 asm("a7") = nr;

	asm volatile("ecall"
		     : "+r" (a0)
		     : "r" (a1), "r" (a2), "r" (a3), "r" (a4), "r" (a5), "r" (a7)
		     : "memory");
	return a0;
}

static long raw_ioctl(long fd, unsigned long request, void *arg)
{
	return raw_syscall(SYS_ioctl, fd, request, (long)arg, 0, 0, 0);
}

static void map_run(long vcpu)
{
	long addr;

	if (vcpu >= MAX_FD)
		abort();
	addr = raw_syscall(SYS_mmap, 0, sizeof(struct kvm_run), PROT_READ, MAP_SHARED,
			   vcpu, 0);
	if (addr < 0 && addr > -4096)
		abort();
	runs[vcpu] = (const struct kvm_run *)addr;
}

static int suspended(int vcpu)
{
	const struct kvm_run *run = vcpu < MAX_FD ? runs[vcpu] : NULL;

	return run && run->exit_reason == KVM_EXIT_RISCV_SBI &&
	       run->riscv_sbi.extension_id == SBI_EXT_SUSP;
}

static void set_regs(long vcpu)
{
	const char *p = getenv("KVM_SET_REGS");
	struct kvm_one_reg reg;
	uint64_t val;
	char *end;

	while (p && *p) {
		reg.id = strtoull(p, &end, 0);
		if (*end != '=')
			abort();
		val = strtoull(end + 1, &end, 0);
		reg.addr = (uintptr_t)&val;
		/* A test that runs without what it asked for proves nothing. */
		if (raw_ioctl(vcpu, KVM_SET_ONE_REG, &reg))
			abort();
		for (p = end; *p == ' '; p++)
			;
	}
}

int ioctl(int fd, unsigned long request, ...)
{
	va_list ap;
	void *arg;
	long ret;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);

	do {
		ret = raw_ioctl(fd, request, arg);
	} while (request == KVM_RUN && !ret && suspended(fd));
	if (ret < 0) {
		errno = -ret;
		return -1;
	}
	if (request == KVM_CREATE_VCPU) {
		map_run(ret);
		set_regs(ret);
	}
	return ret;
}

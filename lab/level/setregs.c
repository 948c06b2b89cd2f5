// SPDX-License-Identifier: GPL-2.0
/*
 * Loaded into a VMM (LD_PRELOAD), sets registers of every vCPU that it creates:
 *
 *	KVM_SET_REGS="0x8030...=0x3 0x8030...=0"
 *
 * So the lab can mask what the distribution's QEMU does not know yet. It has to
 * load with any C library, and so needs none but for errno.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>

static long raw_ioctl(long fd, unsigned long request, void *arg)
{
	register long a0 asm("a0") = fd;
	register unsigned long a1 asm("a1") = request;
	register void *a2 asm("a2") = arg;
	register long a7 asm("a7") = SYS_ioctl;

	asm volatile("ecall" : "+r" (a0) : "r" (a1), "r" (a2), "r" (a7) : "memory");
	return a0;
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

	ret = raw_ioctl(fd, request, arg);
	if (ret < 0) {
		errno = -ret;
		return -1;
	}
	if (request == KVM_CREATE_VCPU)
		set_regs(ret);
	return ret;
}

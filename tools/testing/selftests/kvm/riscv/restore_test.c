// SPDX-License-Identifier: GPL-2.0
/*
 * What userspace restores of timer and interrupts takes effect.
 *
 * A VMM that migrates a vCPU writes the timer's registers in the order that the
 * register list has them: compare, then state, whether on or off. What is pending
 * in sip wakes the vCPU from WFI, and nothing else does: the privileged
 * specification has WFI complete when an interrupt is pending that sie enables,
 * whether sstatus.SIE enables interrupts or not.
 */
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/time.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "ucall_common.h"

#define SIP_SSIP	0x2UL
#define SIP_STIP	0x20UL
#define SIP_SEIP	0x200UL
#define SSTATUS_SIE	0x2UL

#define TIMER_REG(__r)	(KVM_REG_RISCV | KVM_REG_SIZE_U64 | KVM_REG_RISCV_TIMER | \
			 KVM_REG_RISCV_TIMER_REG(__r))
#define SIP_REG		(KVM_REG_RISCV | KVM_REG_SIZE_ULONG | KVM_REG_RISCV_CSR | \
			 KVM_REG_RISCV_CSR_REG(sip))

static void on_alarm(int sig)
{
}

/* KVM_RUN ends with EINTR if the vCPU still sleeps after a while */
static bool sleeps(struct kvm_vcpu *vcpu)
{
	struct itimerval off = { 0 }, patience = {
		.it_value.tv_sec = 1,
		/* Until it is off: KVM_RUN may not have begun yet */
		.it_interval.tv_usec = 100000,
	};
	bool interrupted;

	setitimer(ITIMER_REAL, &patience, NULL);
	interrupted = __vcpu_run(vcpu) && errno == EINTR;
	setitimer(ITIMER_REAL, &off, NULL);

	return interrupted;
}

static unsigned long timer_reg(struct kvm_vcpu *vcpu, unsigned long id)
{
	unsigned long val = 0;

	TEST_ASSERT(!__vcpu_get_reg(vcpu, id, (void *)&val), "register %lx", id);
	return val;
}

static void timer_guest(void)
{
	unsigned long sip;

	asm volatile("csrr %0, sip" : "=r" (sip) : : "memory");
	GUEST_SYNC(sip & SIP_STIP);
}

/* On, with a time that is still far away */
static void timer_on(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, timer_guest);
	unsigned long due = timer_reg(vcpu, TIMER_REG(time)) +
			    1000 * timer_reg(vcpu, TIMER_REG(frequency));
	unsigned long compare;
	struct ucall uc;
	bool quiet;

	TEST_ASSERT(!__vcpu_set_reg(vcpu, TIMER_REG(compare), due), "compare");
	TEST_ASSERT(!__vcpu_set_reg(vcpu, TIMER_REG(state), KVM_RISCV_TIMER_STATE_ON),
		    "state");
	compare = timer_reg(vcpu, TIMER_REG(compare));
	if (compare != due)
		ksft_print_msg("compare is %lu instead of %lu\n", compare, due);
	ksft_test_result(compare == due, "a timer that is on keeps its time\n");

	vcpu_run(vcpu);
	quiet = get_ucall(vcpu, &uc) == UCALL_SYNC && !uc.args[1];
	ksft_test_result(quiet, "it does not expire at once\n");
	kvm_vm_free(vm);
}

static void timer_off(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = vm_create_with_one_vcpu(&vcpu, timer_guest);
	int ret = __vcpu_set_reg(vcpu, TIMER_REG(state), KVM_RISCV_TIMER_STATE_OFF);

	if (ret)
		ksft_print_msg("errno %d\n", errno);
	ksft_test_result(!ret, "a timer may be off already\n");
	kvm_vm_free(vm);
}

static void wfi_guest(unsigned long sie)
{
	asm volatile("csrc sstatus, %0\n"
		     "csrw sie, %1\n"
		     "wfi\n"
		     : : "r" (SSTATUS_SIE), "r" (sie) : "memory");
	GUEST_SYNC(0);
}

static struct kvm_vm *wfi_vm(struct kvm_vcpu **vcpu, unsigned long sie)
{
	struct kvm_vm *vm = vm_create_with_one_vcpu(vcpu, wfi_guest);

	vcpu_args_set(*vcpu, 1, sie);
	return vm;
}

static void wake(void)
{
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = wfi_vm(&vcpu, SIP_SSIP);

	TEST_ASSERT(!__vcpu_set_reg(vcpu, SIP_REG, SIP_SSIP), "sip");
	ksft_test_result(!sleeps(vcpu), "an interrupt that is pending ends WFI\n");
	kvm_vm_free(vm);
}

static void stay_asleep(void)
{
	struct kvm_interrupt irq = { .irq = KVM_INTERRUPT_SET };
	struct kvm_vcpu *vcpu;
	struct kvm_vm *vm = wfi_vm(&vcpu, SIP_SEIP);

	vcpu_ioctl(vcpu, KVM_INTERRUPT, &irq);
	TEST_ASSERT(!__vcpu_set_reg(vcpu, SIP_REG, 0), "sip");
	ksft_test_result(sleeps(vcpu), "one that is not pending any more does not\n");
	kvm_vm_free(vm);
}

int main(void)
{
	struct sigaction sa = { .sa_handler = on_alarm };

	ksft_print_header();
	ksft_set_plan(5);
	sigaction(SIGALRM, &sa, NULL);

	timer_on();
	timer_off();
	wake();
	stay_asleep();

	ksft_finished();
}

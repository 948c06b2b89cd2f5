// SPDX-License-Identifier: GPL-2.0-only
/*
 * A timer is not lost when the vCPU is preempted right after it was set.
 *
 * The guest clears its timer and sets it to now, over and over, by calls of SBI TIME
 * (SBI 3.0, chapter 6): then the timer interrupt has to be pending, which the guest
 * sees in sip. Another thread on the same CPU preempts the vCPU all the time.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <unistd.h>

#include "kselftest.h"
#include "kvm_util.h"
#include "processor.h"
#include "sbi.h"
#include "ucall_common.h"

#ifndef SBI_EXT_TIME
#define SBI_EXT_TIME	0x54494D45
#endif
#define SIP_STIP	0x20UL
#define SECONDS		4
/* Of the guest's time, for an interrupt that is due at once */
#define PATIENCE	1

static unsigned long rounds;
static bool lost;
static bool stop;

static unsigned long now(void)
{
	unsigned long time;

	asm volatile("rdtime %0" : "=r" (time) : : "memory");
	return time;
}

static void set_timer(unsigned long time)
{
	sbi_ecall(SBI_EXT_TIME, 0, time, 0, 0, 0, 0, 0);
}

static bool pending(void)
{
	unsigned long sip;

	asm volatile("csrr %0, sip" : "=r" (sip) : : "memory");
	return sip & SIP_STIP;
}

static void guest_code(unsigned long hz)
{
	unsigned long end = now() + SECONDS * hz, due;

	for (; !lost && now() < end; rounds++) {
		set_timer(-1UL);
		due = now();
		set_timer(due);
		while (!lost && !pending())
			lost = now() > due + PATIENCE * hz;
	}
	GUEST_DONE();
}

static void pin(void)
{
	cpu_set_t cpus;

	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	TEST_ASSERT(!sched_setaffinity(0, sizeof(cpus), &cpus), "sched_setaffinity()");
}

/* Wakes up often, and has slept long enough to come first */
static void *preempt(void *arg)
{
	pin();
	while (!READ_ONCE(stop))
		usleep(20);

	return NULL;
}

int main(void)
{
	unsigned long hz = 0;
	struct kvm_vcpu *vcpu;
	pthread_t thread;
	struct kvm_vm *vm;
	struct ucall uc;

	ksft_print_header();
	ksft_set_plan(1);

	vm = vm_create_with_one_vcpu(&vcpu, guest_code);
	TEST_ASSERT(!__vcpu_get_reg(vcpu, KVM_REG_RISCV | KVM_REG_SIZE_U64 |
				    KVM_REG_RISCV_TIMER |
				    KVM_REG_RISCV_TIMER_REG(frequency), &hz),
		    "no timer frequency");
	vcpu_args_set(vcpu, 1, hz);

	pin();
	TEST_ASSERT(!pthread_create(&thread, NULL, preempt, NULL), "pthread_create()");
	vcpu_run(vcpu);
	TEST_ASSERT(get_ucall(vcpu, &uc) == UCALL_DONE, "exit %u",
		    vcpu->run->exit_reason);
	WRITE_ONCE(stop, true);
	pthread_join(thread, NULL);

	sync_global_from_guest(vm, rounds);
	sync_global_from_guest(vm, lost);
	kvm_vm_free(vm);

	ksft_print_msg("%lu times set\n", rounds);
	if (lost)
		ksft_test_result_fail("the timer of a preempted vCPU is kept\n");
	else
		ksft_test_result_pass("the timer of a preempted vCPU is kept\n");
	ksft_finished();
}

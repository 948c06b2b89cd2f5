// SPDX-License-Identifier: GPL-2.0-only
/*
 * Nested virtualization: instructions of L1 and L2 that KVM emulates or reflects,
 * with each fault and from each mode, and where interrupts of both arrive.
 *
 * Expected values are those of the privileged specification, chapter "H"
 * Extension for Hypervisor Support.
 */
#include <pthread.h>

#include "kvm_util.h"
#include "processor.h"
#include "nested.h"
#include "nested_nacl.h"
#include "sbi.h"
#include "ucall_common.h"
#include "kselftest.h"

#define CAUSE_INST_ACCESS	1
#define CAUSE_ILLEGAL		2
#define CAUSE_BREAKPOINT	3
#define CAUSE_LOAD_ACCESS	5
#define CAUSE_STORE_ACCESS	7
#define CAUSE_ECALL_U		8
#define CAUSE_ECALL_VS		10
#define CAUSE_LOAD_PAGE		13
#define CAUSE_STORE_PAGE	15
#define CAUSE_LOAD_GUEST_PAGE	21
#define CAUSE_VIRTUAL_INSN	22
#define CAUSE_STORE_GUEST_PAGE	23
#define CAUSE_IRQ(__n)		(BIT(63) | (__n))

#define SBI_EXT_TIME		0x54494d45
#define SBI_EXT_RFENCE		0x52464e43
#define RFENCE_VVMA_ASID	5
#define RFENCE_VVMA		6

#define V	NESTED_PTE_V
#define R	NESTED_PTE_R
#define W	NESTED_PTE_W
#define X	NESTED_PTE_X
#define U	NESTED_PTE_U
#define A	NESTED_PTE_A
#define D	NESTED_PTE_D
#define AD	(A | D)
#define MXR	BIT(19)

#define VS_IRQS			(BIT(2) | BIT(6) | BIT(10))
#define GIGA(__n)		((__n) * (1UL << 30))
#define PTE(__addr, __flags)	((u64)(__addr) >> 12 << 10 | (__flags))
#define VSATP(__asid)		(8UL << 60 | (__asid) << 44 | (u64)vs_root >> 12)

/* Ticks of the time CSR; the hosts of the tests have 10 MHz */
#define TIMER_TICKS		20000

/* Written by the host */
static u64 has_adue, has_svinval, has_zawrs, code_gpa;

static struct nested_ctx ctx;
static struct nacl nacl;

static void run_l2(struct nested_ctx *l2)
{
	if (nacl.mem)
		nacl_run(&nacl, l2);
	else
		nested_run(l2);
}

/* CSRs of the H extension reach L2 by either way */
#define csr_w(__n, __v)							\
do {									\
	if (nacl_has(&nacl, FEAT_CSR))					\
		nacl_mark(&nacl, __n, (u64)(__v));			\
	else								\
		csr_write(__n, __v);					\
} while (0)

static void set_timer(u64 expiry)
{
	sbi_ecall(SBI_EXT_TIME, 0, expiry, 0, 0, 0, 0, 0);
}

#define csr(__n)							\
({									\
	u64 __val = csr_read(__n);					\
									\
	if (nacl.mem)							\
		GUEST_ASSERT_EQ(nacl.mem[CSR_WORD(__n)], __val);	\
	__val;								\
})

/* --- One instruction each, for L1 and L2, in a page that U-mode has as well --- */

#define CODE(__name, __insn)	#__name ": " __insn "\nret\n"
#define HLV(__f7, __rs2)	".insn r 0x73, 4, " #__f7 ", a0, a0, x" #__rs2
#define HSV(__f7)		".insn r 0x73, 4, " #__f7 ", x0, a0, a1"

asm(".balign 4096\n"
	"code:\n"
	".option push\n"
	".option norvc\n"
	CODE(hlv_b, HLV(0x30, 0))
	CODE(hlv_bu, HLV(0x30, 1))
	CODE(hlv_h, HLV(0x32, 0))
	CODE(hlv_hu, HLV(0x32, 1))
	CODE(hlvx_hu, HLV(0x32, 3))
	CODE(hlv_w, HLV(0x34, 0))
	CODE(hlv_wu, HLV(0x34, 1))
	CODE(hlvx_wu, HLV(0x34, 3))
	CODE(hlv_d, HLV(0x36, 0))
	CODE(hsv_b, HSV(0x31))
	CODE(hsv_h, HSV(0x33))
	CODE(hsv_w, HSV(0x35))
	CODE(hsv_d, HSV(0x37))
	/* There is no such register number, or it has to be zero */
	CODE(bad_hlvx_b, HLV(0x30, 3))
	CODE(bad_hlv_du, HLV(0x36, 1))
	CODE(bad_hsv_rd, ".insn r 0x73, 4, 0x37, a0, a0, a1")
	CODE(bad_funct7, HLV(0x38, 0))
	CODE(hfence_vvma, ".insn r 0x73, 0, 0x11, x0, x0, x0")
	CODE(hfence_gvma, ".insn r 0x73, 0, 0x31, x0, x0, x0")
	CODE(csr_hstatus, "csrr a0, 0x600")
	CODE(wfi, "wfi")
	CODE(wrs_nto, ".4byte 0x00d00073")
	CODE(sret, "sret")
	CODE(sfence, "sfence.vma")
	CODE(sinval, ".insn r 0x73, 0, 0x0b, x0, x0, x0")
	CODE(satp_r, "csrr a0, satp")
	CODE(satp_w, "csrw satp, x0")
	CODE(illegal, ".4byte 0xffffffff")
	CODE(breakpoint, "ebreak")
	CODE(spin, "j .")
	CODE(call, "ecall")
	".balign 4096\n"

	/* U-mode of L1: a0 and a1 are for the code at a2, which returns to a3 */
	"l1_user:\n"
	"mv t5, ra\n"
	"mv ra, a3\n"
	"csrw sepc, a2\n"
	"li t0, 0x100\n"
	"csrc sstatus, t0\n"
	"sret\n"
	"l1_user_done:\n"
	"jr t5\n"

	/* L2 that uses no register: a0 is its pc, a1 and a2 go to hstatus and sstatus */
	"l1_vectored:\n"
	"csrw sepc, a0\n"
	"csrw 0x600, a1\n"
	"csrs sstatus, a2\n"
	"lla a0, l1_vectors + 1\n"
	"csrrw a0, stvec, a0\n"
	"sret\n"
	".balign 256\n"
	"l1_vectors:\n"
	".rept 16\n"
	"jal t6, 1f\n"
	".endr\n"
	"1: csrw stvec, a0\n"
	"addi a0, t6, -4\n"
	"lla t6, l1_vectors\n"
	"sub a0, a0, t6\n"
	"ret\n"

	/* L2's handler tells L1 what it got, and by which entry */
	".balign 256\n"
	"l2_vectors:\n"
	".rept 16\n"
	"jal t6, 1f\n"
	".endr\n"
	"1: csrr a0, scause\n"
	"csrr a1, sepc\n"
	"csrr a2, sstatus\n"
	"addi a3, t6, -4\n"
	"lla t6, l2_vectors\n"
	"sub a3, a3, t6\n"
	"ecall\n"
	".option pop\n");

extern char code[], hlv_b[], hlv_bu[], hlv_h[], hlv_hu[], hlvx_hu[], hlv_w[], hlv_wu[];
extern char hlvx_wu[], hlv_d[], hsv_b[], hsv_h[], hsv_w[], hsv_d[];
extern char bad_hlvx_b[], bad_hlv_du[], bad_hsv_rd[], bad_funct7[];
extern char hfence_vvma[], hfence_gvma[], csr_hstatus[], wfi[], wrs_nto[], sret[], sfence[];
extern char sinval[], satp_r[], satp_w[], illegal[], breakpoint[], spin[], call[];
extern char l1_user_done[], l2_vectors[];

u64 l1_user(u64 a0, u64 a1, u64 code, u64 ret);
u64 l1_vectored(u64 pc, u64 hstatus, u64 sstatus);

/* The page with the code, where L1's U-mode finds it */
#define USER_CODE		0x2000000000UL
#define USER(__insn)		(USER_CODE + ((__insn) - code))

#define insn_at(__insn)		(*(u32 *)(__insn))
#define RS1_MASK		(31UL << 15)

static struct {
	u64 cause, epc, tval, htval, htinst, hstatus, sstatus;
} trap;

static void l1_trap(struct pt_regs *regs)
{
	if (regs->cause == CAUSE_ECALL_U) {
		regs->epc = (u64)l1_user_done;
		regs->status |= SR_SPP;
		return;
	}

	trap.cause = regs->cause;
	trap.epc = regs->epc;
	trap.tval = regs->badaddr;
	trap.htval = csr(CSR_HTVAL);
	trap.htinst = csr(CSR_HTINST);
	trap.hstatus = csr(CSR_HSTATUS);
	trap.sstatus = regs->status;
	regs->epc += 4;
}

/* Let L1 execute an instruction, in HS-mode or U-mode */
static u64 execute(char *insn, u64 a0, u64 a1, bool user)
{
	nacl_sync(&nacl);
	memset(&trap, 0, sizeof(trap));
	if (user)
		return l1_user(a0, a1, USER(insn), USER(call));

	return ((u64 (*)(u64, u64))insn)(a0, a1);
}

/* --- HLV, HLVX and HSV ---------------------------------------------------------- */

enum { LOAD, STORE, FETCH };

static const struct insn {
	char *insn;
	u8 kind;
	u8 bits;
	bool sign;
} insns[] = {
	{ hlv_b, LOAD, 8, true },	{ hlv_bu, LOAD, 8 },
	{ hlv_h, LOAD, 16, true },	{ hlv_hu, LOAD, 16 },
	{ hlv_w, LOAD, 32, true },	{ hlv_wu, LOAD, 32 },
	{ hlv_d, LOAD, 64 },
	{ hsv_b, STORE, 8 },		{ hsv_h, STORE, 16 },
	{ hsv_w, STORE, 32 },		{ hsv_d, STORE, 64 },
	{ hlvx_hu, FETCH, 16 },		{ hlvx_wu, FETCH, 32 },
};

static const struct mode {
	const char *name;
	u64 hstatus, vsstatus, sstatus;
} modes[] = {
	{ "VS", HSTATUS_SPVP },
	{ "VU" },
	{ "VS with SUM", HSTATUS_SPVP, SR_SUM },
	{ "VS with MXR", HSTATUS_SPVP, MXR },
	/* L1's own SUM does not matter, its MXR is for both stages */
	{ "VS with SUM of L1", HSTATUS_SPVP, 0, SR_SUM },
	{ "VS with MXR of L1", HSTATUS_SPVP, 0, MXR },
};

/* Pages of L2, by what L1's G-stage has for them */
#define GPA_RWX			NESTED_L2_ADDR
#define GPA_RX			(NESTED_L2_ADDR + 0x1000)
#define GPA_RW			(NESTED_L2_ADDR + 0x2000)
#define GPA_X			(NESTED_L2_ADDR + 0x3000)
#define GPA_NO_MEMORY		(NESTED_L2_ADDR + 0x20000000)
#define GPA_NO_GSTAGE		(NESTED_L2_ADDR + 0x30000000)
#define GPA_NO_TABLE		(NESTED_L2_ADDR + 0x40000000)

/* Addresses of L2, in the last or the first level of its page table */
#define PAGE(__n)		(GIGA(1) + (__n) * 0x1000 + 0x18)
#define TOP(__n)		(GIGA(__n) + (3 << 21) + 0x18)

static u64 vs_root[512] __aligned(4096);
static u64 vs_mid[512] __aligned(4096);
static u64 vs_low[512] __aligned(4096);

/*
 * What loads, stores and fetches get in each mode: nothing, a page fault, a guest-page
 * fault, one of the page table, or an access fault.
 */
static const struct place {
	const char *name;
	u64 addr, gpa, flags;
	const char *expected;
} places[] = {
	{ "rwx", PAGE(0), GPA_RWX, V | R | W | X | AD, "...|ppp|...|...|...|..." },
	{ "rw", PAGE(1), GPA_RWX, V | R | W | AD, "..p|ppp|..p|..p|..p|..p" },
	{ "r", PAGE(2), GPA_RWX, V | R | AD, ".pp|ppp|.pp|.pp|.pp|.pp" },
	{ "x", PAGE(3), GPA_RWX, V | X | AD, "pp.|ppp|pp.|.p.|pp.|.p." },
	{ "rw, U", PAGE(4), GPA_RWX, V | R | W | U | AD, "ppp|..p|..p|ppp|ppp|ppp" },
	/* Whether SUM lets HLVX read them is left open */
	{ "x, U", PAGE(5), GPA_RWX, V | X | U | AD, "ppp|pp.|pp?|ppp|ppp|ppp" },
	{ "invalid", PAGE(6), GPA_RWX, R | W | X | AD, "ppp|ppp|ppp|ppp|ppp|ppp" },
	{ "wx", PAGE(7), GPA_RWX, V | W | X | AD, "ppp|ppp|ppp|ppp|ppp|ppp" },
	{ "not dirty", PAGE(8), GPA_RWX, V | R | W | X | A, ".p.|ppp|.p.|.p.|.p.|.p." },
	{ "not accessed", PAGE(9), GPA_RWX, V | R | W | X | D, "ppp|ppp|ppp|ppp|ppp|ppp" },
	{ "rwx, G rx", PAGE(10), GPA_RX, V | R | W | X | AD, ".g.|ppp|.g.|.g.|.g.|.g." },
	{ "rwx, G rw", PAGE(11), GPA_RW, V | R | W | X | AD, "..g|ppp|..g|..g|..g|..g" },
	{ "rwx, G x", PAGE(12), GPA_X, V | R | W | X | AD, "gg.|ppp|gg.|gg.|gg.|.g." },
	{ "x, G rw", PAGE(13), GPA_RW, V | X | AD, "ppg|ppp|ppg|.pg|ppg|.pg" },
	{ "x, G x", PAGE(14), GPA_X, V | X | AD, "pp.|ppp|pp.|gp.|pp.|.p." },
	{ "rwx, G none", PAGE(15), GPA_NO_GSTAGE, V | R | W | X | AD, "ggg|ppp|ggg|ggg|ggg|ggg" },
	{ "x, G none", PAGE(16), GPA_NO_GSTAGE, V | X | AD, "ppg|ppp|ppg|gpg|ppg|gpg" },
	{ "rwx, no mem", PAGE(17), GPA_NO_MEMORY, V | R | W | X | AD, "aaa|ppp|aaa|aaa|aaa|aaa" },
	{ "x, no mem", PAGE(18), GPA_NO_MEMORY, V | X | AD, "ppa|ppp|ppa|apa|ppa|apa" },
	{ "rwx, no table", PAGE(19), GPA_NO_TABLE, V | R | W | X | AD, "aaa|ppp|aaa|aaa|aaa|aaa" },
	{ "table, G none", TOP(2), GPA_NO_GSTAGE, V, "iii|iii|iii|iii|iii|iii" },
	{ "table, no mem", TOP(3), GPA_NO_MEMORY, V, "aaa|aaa|aaa|aaa|aaa|aaa" },
	{ "table, no table", TOP(4), GPA_NO_TABLE, V, "aaa|aaa|aaa|aaa|aaa|aaa" },
	/* MXR is for explicit loads; it was not always said so */
	{ "table, G x", TOP(5), GPA_X, V, "iii|iii|iii|iii|iii|???" },
	{ "misaligned", TOP(6), GPA_RX, V | R | W | X | AD, "ppp|ppp|ppp|ppp|ppp|ppp" },
	{ "not canonical", BIT(39) | PAGE(0), GPA_RWX, 0, "ppp|ppp|ppp|ppp|ppp|ppp" },
};

#define PATTERN			0xfedcba9896d4b290UL
/* At the offset in the page that all addresses have */
#define WORD			(*(u64 *)(NESTED_L2_ADDR + 0x18))

#define place_check(__cond, __val)						\
	__GUEST_ASSERT(__cond, "%s, %s, insn %x: " #__cond ", %lx",		\
		       p->name, m->name, insn_at(i->insn), (u64)(__val))

static void check_access(const struct place *p, const struct mode *m, const struct insn *i,
			 u64 val)
{
	u64 mask = -1UL >> (64 - i->bits), want = PATTERN & mask;

	place_check(!trap.cause, trap.cause);
	if (i->kind == STORE) {
		place_check(WORD == ((PATTERN & ~mask) | (~PATTERN & mask)), WORD);
		return;
	}
	if (i->sign)
		want |= ~mask;
	place_check(val == want, val);
}

static void check_fault(const struct place *p, const struct mode *m, const struct insn *i,
			char what)
{
	static const u64 causes[2][3] = {
		{ CAUSE_LOAD_PAGE, CAUSE_LOAD_GUEST_PAGE, CAUSE_LOAD_ACCESS },
		{ CAUSE_STORE_PAGE, CAUSE_STORE_GUEST_PAGE, CAUSE_STORE_ACCESS },
	};
	const u64 *cause = causes[i->kind == STORE];
	u64 want = what == 'p' ? cause[0] : what == 'a' ? cause[2] : cause[1];
	u64 htval = 0;

	if (what == 'g')
		htval = (p->gpa + p->addr % 0x1000) >> 2;
	else if (what == 'i')
		htval = (p->gpa + (p->addr >> 21) % 512 * 8) >> 2;

	place_check(trap.cause == want, trap.cause);
	place_check(trap.tval == p->addr, trap.tval);
	/* It may also be zero (15.4.4), but KVM always reports it */
	place_check(trap.htval == htval, trap.htval);
	/* A pseudoinstruction, or what L1 executed without its address register, or zero */
	if (what == 'i')
		place_check(trap.htinst == 0x3000, trap.htinst);
	else if (trap.htinst)
		place_check(trap.htinst == (insn_at(i->insn) & ~RS1_MASK), trap.htinst);
	place_check((trap.hstatus & (HSTATUS_GVA | HSTATUS_SPV | HSTATUS_SPVP)) ==
		    (HSTATUS_GVA | m->hstatus), trap.hstatus);
	place_check(WORD == PATTERN, WORD);
}

/* By all instructions, from HS-mode or U-mode of L1 */
static void check_place(const struct place *p, const struct mode *m, const char *expected,
			bool user)
{
	const struct insn *i;
	u64 val;

	csr_w(CSR_HSTATUS, m->hstatus | (user ? HSTATUS_HU : 0));
	csr_w(CSR_VSSTATUS, m->vsstatus);
	for (i = insns; i < insns + ARRAY_SIZE(insns); i++) {
		if (expected[i->kind] == '?')
			continue;

		WORD = PATTERN;
		csr_set(CSR_SSTATUS, m->sstatus);
		val = execute(i->insn, p->addr, ~PATTERN, user);
		csr_clear(CSR_SSTATUS, m->sstatus);

		if (expected[i->kind] == '.') {
			check_access(p, m, i, val);
			continue;
		}
		check_fault(p, m, i, expected[i->kind]);
		place_check(trap.epc == (user ? USER(i->insn) : (u64)i->insn), trap.epc);
		place_check(!(trap.sstatus & SR_SPP) == user, trap.sstatus);
		/* No result */
		if (i->kind != STORE)
			place_check(val == p->addr, val);
	}
}

/* Page tables of L2 and L1 with all places */
static void map_places(void)
{
	const struct place *p;
	u64 *pte;

	nested_init(&ctx, NULL);
	nested_map(&nested_pgt, GPA_RWX, NESTED_TEST_GPA, 0, NESTED_PTE_RWX);
	nested_map(&nested_pgt, GPA_RX, NESTED_TEST_GPA, 0, NESTED_PTE_RWX & ~W);
	nested_map(&nested_pgt, GPA_RW, NESTED_TEST_GPA, 0, NESTED_PTE_RWX & ~X);
	nested_map(&nested_pgt, GPA_X, NESTED_TEST_GPA, 0, NESTED_PTE_RWX & ~(R | W));
	nested_map(&nested_pgt, GPA_NO_MEMORY, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	pte = nested_map(&nested_pgt, GPA_NO_TABLE, 0, 1, 0);
	*pte = PTE(NESTED_MMIO_GPA, V);

	vs_root[1] = PTE(vs_mid, V);
	vs_mid[0] = PTE(vs_low, V);
	for (p = places; p < places + ARRAY_SIZE(places); p++) {
		if (p->addr / GIGA(1) == 1)
			vs_low[p->addr / 0x1000 % 512] = PTE(p->gpa, p->flags);
		else if (p->addr < BIT(39))
			vs_root[p->addr / GIGA(1)] = PTE(p->gpa, p->flags);
	}
	csr_w(CSR_VSATP, VSATP(0UL));
	nested_hfence_gvma();
	nested_hfence_vvma();
}

static void l1_hlsv(void)
{
	const struct place *p;
	int i;

	map_places();
	for (p = places; p < places + ARRAY_SIZE(places); p++) {
		/* QEMU 10.0 takes menvcfg.ADUE for henvcfg.ADUE here, and sets the bits */
		if (has_adue && p->flags & AD && (p->flags & AD) != AD)
			continue;
		for (i = 0; i < 2 * ARRAY_SIZE(modes); i++)
			check_place(p, &modes[i / 2], p->expected + i / 2 * 4, i & 1);
	}

	/* Nothing can be translated without a root */
	csr_w(CSR_HGATP, HGATP_MODE_SV39X4 << HGATP_MODE_SHIFT | NESTED_MMIO_GPA >> 12);
	for (i = 0; i < 2 * ARRAY_SIZE(modes); i++)
		check_place(&places[0], &modes[i / 2], "aaa", i & 1);
	GUEST_DONE();
}

/* Not for U-mode without HU; not for anybody if there is no such instruction */
static void l1_illegal(void)
{
	static const struct {
		char *insn;
		u64 hstatus;
		bool user, works;
	} t[] = {
		{ hlv_d, 0, false, true },	{ hlv_d, 0, true },
		{ hlvx_wu, 0, true },		{ hsv_d, 0, true },
		{ hlv_d, HSTATUS_HU, true, true },
		{ hlvx_wu, HSTATUS_HU, true, true },
		{ hsv_d, HSTATUS_HU, true, true },
		{ bad_hlvx_b },	{ bad_hlv_du },	{ bad_hsv_rd },	{ bad_funct7 },
		{ hfence_vvma, 0, false, true },
		{ hfence_vvma, HSTATUS_HU, true },
		{ hfence_gvma, 0, false, true },
		{ hfence_gvma, HSTATUS_HU, true },
		{ csr_hstatus, 0, false, true },
		{ csr_hstatus, HSTATUS_HU, true },
	};
	const u64 bits = HSTATUS_GVA | HSTATUS_SPV | HSTATUS_SPVP | HSTATUS_HU;
	u64 hstatus;
	int i;

	map_places();
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		hstatus = t[i].hstatus | HSTATUS_SPVP;
		csr_w(CSR_HSTATUS, hstatus);
		execute(t[i].insn, PAGE(0), 0, t[i].user);
		__GUEST_ASSERT(trap.cause == (t[i].works ? 0 : CAUSE_ILLEGAL), "case %d: cause %lu",
			       i, trap.cause);
		if (t[i].works)
			continue;
		GUEST_ASSERT_EQ(trap.epc, t[i].user ? USER(t[i].insn) : (u64)t[i].insn);
		GUEST_ASSERT(trap.tval == insn_at(t[i].insn) || !trap.tval);
		GUEST_ASSERT_EQ(trap.hstatus & bits, hstatus);
		GUEST_ASSERT_EQ(trap.htval, 0);
		GUEST_ASSERT_EQ(trap.htinst, 0);
	}
	GUEST_DONE();
}

/* --- Fences of the VS-stage ------------------------------------------------------ */

#define FENCED			GIGA(2)
#define ASID			5UL

/* An entry of L2's that L1 lets point to either of two pages, which hold the turn */
static void map_fenced(void)
{
	int i;

	for (i = 0; i < 2; i++) {
		nested_map(&nested_pgt, NESTED_L2_ADDR + i * 0x1000,
			   NESTED_TEST_GPA + i * 0x1000, 0, NESTED_PTE_RWX);
		*(u64 *)(NESTED_L2_ADDR + i * 0x1000) = 0;
	}
	/* The first gigabyte, with the program, as it is */
	vs_root[0] = PTE(0, V | R | W | X | AD);
	vs_root[2] = PTE(vs_mid, V);
	vs_mid[0] = PTE(vs_low, V);
	vs_low[0] = PTE(NESTED_L2_ADDR, V | R | W | AD);
}

static void change_fenced(u64 turn)
{
	*(u64 *)(NESTED_L2_ADDR + turn % 2 * 0x1000) = turn;
	WRITE_ONCE(vs_low[0], PTE(NESTED_L2_ADDR + turn % 2 * 0x1000, V | R | W | AD));
}

static void l2_read(void)
{
	for (;;)
		nested_l2_call(READ_ONCE(*(u64 *)FENCED));
}

static u64 l2_reads(void)
{
	run_l2(&ctx);
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	ctx.sepc += 4;
	return ctx.x[10];
}

#define FENCE(__name, __insn)						\
static void fence_##__name(u64 addr, u64 asid)				\
{									\
	asm volatile(__insn :: "r" (addr), "r" (asid) : "memory");	\
}

#define INVAL(__insn)	".insn 0x18000073\n" __insn "\n.insn 0x18100073"

FENCE(all, ".insn r 0x73, 0, 0x11, x0, x0, x0")
FENCE(addr, ".insn r 0x73, 0, 0x11, x0, %0, x0")
FENCE(asid, ".insn r 0x73, 0, 0x11, x0, x0, %1")
FENCE(addr_asid, ".insn r 0x73, 0, 0x11, x0, %0, %1")
FENCE(inval_all, INVAL(".insn r 0x73, 0, 0x13, x0, x0, x0"))
FENCE(inval_addr, INVAL(".insn r 0x73, 0, 0x13, x0, %0, x0"))
FENCE(inval_asid, INVAL(".insn r 0x73, 0, 0x13, x0, x0, %1"))
FENCE(inval_addr_asid, INVAL(".insn r 0x73, 0, 0x13, x0, %0, %1"))

/*
 * Where the hart forgets on its own what it knew a fence that does too little is not
 * noticed. QEMU forgets everything when V or hgatp changes and at any fence, so that
 * there only the remote ones are seen to be missing.
 */
static void l1_vvma(void)
{
	static void (*const fences[])(u64 addr, u64 asid) = {
		fence_all, fence_addr, fence_asid, fence_addr_asid,
		fence_inval_all, fence_inval_addr, fence_inval_asid, fence_inval_addr_asid,
	};
	int n = has_svinval ? ARRAY_SIZE(fences) : ARRAY_SIZE(fences) / 2;
	u64 turn, asid;

	map_fenced();
	nested_init(&ctx, l2_read);
	for (turn = 1; turn <= 4 * n; turn++) {
		/* Zero in a register is not x0 */
		asid = turn / n & 1 ? ASID : 0;
		csr_w(CSR_VSATP, VSATP(asid));
		l2_reads();
		change_fenced(turn);
		fences[turn % n](FENCED + turn % 4096, asid);
		__GUEST_ASSERT(l2_reads() == turn, "fence %lu: %lu instead of %lu",
			       turn % n, ctx.x[10], turn);
		GUEST_ASSERT_EQ(trap.cause, 0);
	}
	GUEST_DONE();
}

static u64 turn_done, l2_seen, quit;
static u64 l2_stack2[512] __aligned(16);

/* On the second vCPU, without an exit unless something is wrong */
static void l2_watch(void)
{
	u64 turn, value;

	while (!READ_ONCE(quit)) {
		turn = READ_ONCE(turn_done);
		asm volatile("fence" ::: "memory");
		value = READ_ONCE(*(u64 *)FENCED);
		if (value < turn)
			nested_l2_call(turn << 32 | value);
		WRITE_ONCE(l2_seen, turn);
	}
	nested_l2_call(-1UL);
}

static void l1_watch(void)
{
	nested_init(&ctx, l2_watch);
	ctx.x[2] = (u64)(l2_stack2 + ARRAY_SIZE(l2_stack2));
	csr_w(CSR_VSATP, VSATP(ASID));
	run_l2(&ctx);
	WRITE_ONCE(quit, 1);
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	__GUEST_ASSERT(ctx.x[10] == -1UL, "turn %lu: value %lu", ctx.x[10] >> 32,
		       ctx.x[10] & 0xffffffff);
	GUEST_DONE();
}

#define TURNS			400

/* L1 on the first vCPU changes the entry; after the call L2 on the other one knows */
static void l1_rfence(void)
{
	static const struct {
		u64 fid, start, size;
	} t[] = {
		{ RFENCE_VVMA, FENCED, 4096 },
		{ RFENCE_VVMA, FENCED - 4096, 3 * 4096 },
		{ RFENCE_VVMA, 0, 0 },
		{ RFENCE_VVMA, GIGA(3), -1UL },
		{ RFENCE_VVMA_ASID, FENCED, 4096 },
		{ RFENCE_VVMA_ASID, FENCED - 4096, 3 * 4096 },
		{ RFENCE_VVMA_ASID, 0, 0 },
		{ RFENCE_VVMA_ASID, GIGA(3), -1UL },
	};
	u64 turn;
	int i;

	map_fenced();
	/* The fence is for the VMID that the caller has in its hgatp */
	csr_write(CSR_HGATP, nested_hgatp(1));
	GUEST_SYNC(0);
	for (turn = 1; turn <= TURNS; turn++) {
		i = turn % ARRAY_SIZE(t);
		change_fenced(turn);
		GUEST_ASSERT_EQ(sbi_ecall(SBI_EXT_RFENCE, t[i].fid, 2, 0, t[i].start,
					  t[i].size, ASID, 0).error, 0);
		asm volatile("fence" ::: "memory");
		WRITE_ONCE(turn_done, turn);
		/* L2 knows the entry when it changes next */
		while (READ_ONCE(l2_seen) != turn && !READ_ONCE(quit))
			cpu_relax();
	}
	WRITE_ONCE(quit, 1);
	GUEST_DONE();
}

/* --- What L1 wants to see of L2 ---------------------------------------------------- */

enum {
	MAY_TRAP = BIT(0), LIKE_VS = BIT(1), WAKEUP = BIT(2), ILLEGAL_VU = BIT(3),
	ZAWRS = BIT(4), SVINVAL = BIT(5),
};

/*
 * From VS-mode they trap if a bit of hstatus says so, from VU-mode always or for the
 * same reason. WRS.NTO need not trap, because it ends on its own.
 */
static const struct trapped {
	const char *name;
	char *insn;
	u64 bit;
	u32 flags;
} trapped[] = {
	{ "WFI", wfi, HSTATUS_VTW, WAKEUP },
	{ "WRS.NTO", wrs_nto, HSTATUS_VTW, MAY_TRAP | LIKE_VS | ZAWRS },
	{ "SRET", sret, HSTATUS_VTSR, ILLEGAL_VU },
	{ "SFENCE.VMA", sfence, HSTATUS_VTVM },
	{ "SINVAL.VMA", sinval, HSTATUS_VTVM, SVINVAL },
	{ "read of satp", satp_r, HSTATUS_VTVM, ILLEGAL_VU },
	{ "write of satp", satp_w, HSTATUS_VTVM, ILLEGAL_VU },
};

#define trapped_check(__cond, __val)						\
	__GUEST_ASSERT(__cond, "%s from %s, bit %d: " #__cond ", %lx",		\
		       t->name, vs ? "VS" : "VU", bit, (u64)(__val))

/* Enter L2 at a single instruction, which goes on to an ECALL */
static void run_insn(char *insn, bool vs, u64 hstatus)
{
	nested_init(&ctx, NULL);
	ctx.sepc = (u64)insn;
	ctx.x[1] = (u64)call;
	ctx.hstatus |= hstatus;
	if (!vs)
		ctx.sstatus &= ~SR_SPP;
	run_l2(&ctx);
}

static void check_trapped(const struct trapped *t, bool vs, int bit)
{
	u64 want = bit || (!vs && !(t->flags & LIKE_VS)) ? CAUSE_VIRTUAL_INSN : 0;

	/* WFI ends at once for what is pending and enabled, but not taken in VS-mode */
	csr_w(CSR_HVIP, t->flags & WAKEUP && vs && !bit ? BIT(2) : 0);
	csr_w(CSR_HIE, BIT(2));
	csr_w(CSR_VSSTATUS, vs ? SR_SPP : 0);
	csr_w(CSR_VSEPC, (u64)call);
	run_insn(t->insn, vs, bit ? t->bit : 0);

	trapped_check(ctx.hstatus & HSTATUS_SPV, ctx.hstatus);
	trapped_check(!(ctx.hstatus & HSTATUS_SPVP) == !vs, ctx.hstatus);
	trapped_check(!(ctx.sstatus & SR_SPP) == !vs, ctx.sstatus);
	trapped_check(ctx.htval == 0 && ctx.htinst == 0, ctx.htval);
	trapped_check(!(ctx.hstatus & HSTATUS_GVA), ctx.hstatus);
	if (t->flags & MAY_TRAP && ctx.sepc == (u64)call)
		want = 0;
	if (!want) {
		trapped_check(ctx.scause == (vs ? CAUSE_ECALL_VS : CAUSE_ECALL_U), ctx.scause);
		trapped_check(ctx.sepc == (u64)call, ctx.sepc);
		return;
	}
	/* QEMU 10.0 takes some for illegal in VU-mode, as they are in U-mode */
	if (!vs && t->flags & ILLEGAL_VU && ctx.scause == CAUSE_ILLEGAL)
		want = CAUSE_ILLEGAL;
	trapped_check(ctx.scause == want, ctx.scause);
	trapped_check(ctx.sepc == (u64)t->insn, ctx.sepc);
	trapped_check(ctx.stval == insn_at(t->insn) || !ctx.stval, ctx.stval);
}

static void l1_trapped(void)
{
	const struct trapped *t;
	int i;

	/* What ends a WFI that should have trapped */
	set_timer(csr_read(CSR_TIME) + 10000 * TIMER_TICKS);
	csr_write(CSR_SIE, BIT(5));
	csr_w(CSR_HEDELEG, 0);
	csr_w(CSR_HIDELEG, VS_IRQS);
	for (t = trapped; t < trapped + ARRAY_SIZE(trapped); t++) {
		if ((t->flags & ZAWRS && !has_zawrs) || (t->flags & SVINVAL && !has_svinval))
			continue;
		for (i = 0; i < 4; i++)
			check_trapped(t, i & 2, i & 1);
	}
	csr_write(CSR_SIE, 0);
	GUEST_DONE();
}

/* --- Interrupts ------------------------------------------------------------------- */

/* Pending in hvip for L2: taken in VU-mode, and in VS-mode if SIE is set */
static void check_l2_irq(u64 irq, bool vs, bool sie, bool enabled, bool vectored)
{
	bool taken = enabled && (!vs || sie);

	csr_w(CSR_HVIP, BIT(irq));
	csr_w(CSR_HIE, enabled ? BIT(irq) : 0);
	csr_w(CSR_VSSTATUS, sie ? SR_SIE : 0);
	csr_w(CSR_VSTVEC, (u64)l2_vectors | vectored);
	run_insn(call, vs, 0);

	if (!taken) {
		GUEST_ASSERT_EQ(ctx.scause, vs ? CAUSE_ECALL_VS : CAUSE_ECALL_U);
		GUEST_ASSERT_EQ(ctx.sepc, (u64)call);
		return;
	}
	/* By L2's handler; VS numbers are one less */
	GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
	GUEST_ASSERT_NE(ctx.sepc, (u64)call);
	GUEST_ASSERT_EQ(ctx.x[10], CAUSE_IRQ(irq - 1));
	GUEST_ASSERT_EQ(ctx.x[11], (u64)call);
	GUEST_ASSERT_EQ(ctx.x[12] & (SR_SPP | SR_SPIE | SR_SIE),
			(vs ? SR_SPP : 0) | (sie ? SR_SPIE : 0));
	GUEST_ASSERT_EQ(ctx.x[13], vectored ? 4 * (irq - 1) : 0);
}

static void l1_l2_irqs(void)
{
	static const u64 irqs[] = { 2, 6, 10 };
	char *insn;
	int i, c;

	csr_w(CSR_HIDELEG, VS_IRQS);
	for (i = 0; i < ARRAY_SIZE(irqs); i++)
		for (c = 0; c < 16; c++)
			check_l2_irq(irqs[i], c & 1, c & 2, c & 4, c & 8);

	/*
	 * Exceptions go to the base, whoever raises them: the hart, or KVM for it. Not
	 * firmware, as for illegal instructions: OpenSBI takes the mode of vstvec for a
	 * part of the address, and QEMU 10.0 does not clear the lowest bit of mepc.
	 */
	csr_w(CSR_HVIP, 0);
	csr_w(CSR_HEDELEG, BIT(CAUSE_BREAKPOINT) | BIT(CAUSE_INST_ACCESS));
	nested_map(&nested_pgt, GPA_NO_MEMORY, NESTED_MMIO_GPA, 0, NESTED_PTE_RWX);
	for (c = 0; c < 8; c++) {
		insn = c & 4 ? (char *)GPA_NO_MEMORY : breakpoint;
		csr_w(CSR_VSTVEC, (u64)l2_vectors | (c & 1));
		run_insn(insn, c & 2, 0);
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
		GUEST_ASSERT_EQ(ctx.x[10], c & 4 ? CAUSE_INST_ACCESS : CAUSE_BREAKPOINT);
		GUEST_ASSERT_EQ(ctx.x[11], (u64)insn);
		GUEST_ASSERT_EQ(ctx.x[13], 0);
	}
	GUEST_DONE();
}

/* L1's vectored stvec, for what ends L2 */
static void l1_vectored_exits(void)
{
	static const struct {
		char *insn;
		/* Enabled and pending for VS level, not delegated, and for S level */
		u64 hvip, sip;
		bool timer;
		u64 cause;
	} t[] = {
		{ spin, .sip = BIT(1), .cause = CAUSE_IRQ(1) },
		{ spin, .timer = true, .cause = CAUSE_IRQ(5) },
		{ spin, .hvip = BIT(2), .cause = CAUSE_IRQ(2) },
		{ spin, .hvip = BIT(6), .cause = CAUSE_IRQ(6) },
		{ spin, .hvip = BIT(10), .cause = CAUSE_IRQ(10) },
		{ illegal, .cause = CAUSE_ILLEGAL },
		{ wfi, .cause = CAUSE_VIRTUAL_INSN },
		{ call, .cause = CAUSE_ECALL_VS },
	};
	const u64 hstatus = HSTATUS_SPV | HSTATUS_SPVP | HSTATUS_VTW;
	u64 entry;
	int i;

	nested_init(&ctx, NULL);
	csr_w(CSR_HIDELEG, 0);
	csr_w(CSR_HEDELEG, 0);
	csr_clear(CSR_SSTATUS, SR_SIE);
	for (i = 0; i < ARRAY_SIZE(t); i++) {
		csr_w(CSR_HVIP, t[i].hvip);
		csr_w(CSR_HIE, t[i].hvip);
		nacl_sync(&nacl);
		csr_write(CSR_SIE, t[i].sip | (t[i].timer ? BIT(5) : 0));
		csr_set(CSR_SIP, t[i].sip);
		if (t[i].timer)
			set_timer(csr_read(CSR_TIME) + TIMER_TICKS);
		entry = l1_vectored((u64)t[i].insn, hstatus, SR_SPP);

		GUEST_ASSERT_EQ(csr_read(CSR_SCAUSE), t[i].cause);
		GUEST_ASSERT_EQ(csr_read(CSR_SEPC), (u64)t[i].insn);
		GUEST_ASSERT_EQ(csr(CSR_HSTATUS) & HSTATUS_SPV, HSTATUS_SPV);
		GUEST_ASSERT_EQ(entry, t[i].cause >> 63 ? 4 * (t[i].cause & 15) : 0);
		csr_clear(CSR_SIP, t[i].sip);
		if (t[i].timer)
			set_timer(-1UL);
		csr_write(CSR_SIE, 0);
	}
	GUEST_DONE();
}

/* --- No G-stage --------------------------------------------------------------------- */

static u64 shared;

static void l2_bare(void)
{
	u64 val = READ_ONCE(shared);

	WRITE_ONCE(shared, val + 1);
	nested_l2_call(val);
}

/* With hgatp zero L2's addresses are L1's: it can have L1's page table, or none */
static void l1_bare(void)
{
	u64 turn;

	for (turn = 0; turn < 4; turn++) {
		nested_init(&ctx, l2_bare);
		csr_w(CSR_HGATP, 0);
		nested_hfence_gvma();
		csr_w(CSR_VSATP, csr_read(CSR_SATP));
		WRITE_ONCE(shared, turn * 10);
		run_l2(&ctx);
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
		GUEST_ASSERT_EQ(ctx.x[10], turn * 10);
		GUEST_ASSERT_EQ(READ_ONCE(shared), turn * 10 + 1);

		csr_w(CSR_VSATP, 0);
		ctx.sepc = code_gpa + (call - code);
		run_l2(&ctx);
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_ECALL_VS);
		GUEST_ASSERT_EQ(ctx.sepc, code_gpa + (call - code));

		/* Not a guest-page fault, which takes a G-stage */
		ctx.sepc = NESTED_MMIO_GPA;
		run_l2(&ctx);
		GUEST_ASSERT_EQ(ctx.scause, CAUSE_INST_ACCESS);
		GUEST_ASSERT_EQ(ctx.stval, NESTED_MMIO_GPA);
		GUEST_ASSERT_EQ(ctx.htval, 0);
		GUEST_ASSERT_EQ(ctx.hstatus & HSTATUS_GVA, HSTATUS_GVA);

		/* The one before is still there */
		run_insn(call, true, 0);
		GUEST_ASSERT_EQ(ctx.sepc, (u64)call);
	}
	GUEST_DONE();
}

/* --- Host side ---------------------------------------------------------------------- */

static const struct {
	const char *name;
	void (*l1)(void);
	/* Code of L1 on a second vCPU, which then is the one with NACL */
	void (*l1_second)(void);
} tests[] = {
	{ "HLV, HLVX and HSV with each fault", l1_hlsv },
	{ "instructions that are illegal in L1", l1_illegal },
	{ "HFENCE.VVMA and HINVAL.VVMA", l1_vvma },
	{ "SBI remote HFENCE.VVMA", l1_rfence, l1_watch },
	{ "instructions that L1 may want to see", l1_trapped },
	{ "interrupts of L2, by its mode and stvec", l1_l2_irqs },
	{ "vectored stvec of L1", l1_vectored_exits },
	{ "hgatp that is Bare", l1_bare },
};

static void l1_entry(void (*l1)(void), bool use_nacl)
{
	if (use_nacl)
		nacl_init(&nacl, BIT(NR_FEATS) - 1);
	l1();
}

/* The library has pages without U only */
static void map_user(struct kvm_vm *vm, gva_t gva, gpa_t gpa)
{
	u64 *pte, *table = addr_gpa2hva(vm, vm->mmu.pgd);
	int level;

	virt_map(vm, gva, gpa, 1);
	for (level = vm->mmu.pgtable_levels - 1; ; level--) {
		pte = &table[gva >> (12 + 9 * level) & 511];
		if (!level)
			break;
		table = addr_gpa2hva(vm, *pte >> 10 << 12);
	}
	*pte |= PGTBL_PTE_USER_MASK;
}

static bool run(struct kvm_vcpu *vcpu, u64 want)
{
	struct ucall uc;

	vcpu_run(vcpu);
	if (get_ucall(vcpu, &uc) == want)
		return true;
	if (uc.cmd == UCALL_ABORT)
		ksft_print_msg("%s at %s:%ld\n", uc.buffer, (const char *)uc.args[GUEST_FILE],
			       uc.args[GUEST_LINE]);
	else if (uc.cmd == UCALL_UNHANDLED)
		ksft_print_msg("unexpected trap of L1, vector %ld cause %ld\n", uc.args[0],
			       uc.args[1]);
	else
		ksft_print_msg("exit reason %d, ucall %ld\n", vcpu->run->exit_reason, uc.cmd);

	return false;
}

static void *run_thread(void *vcpu)
{
	return (void *)(long)run(vcpu, UCALL_DONE);
}

static bool run_both(struct kvm_vm *vm, struct kvm_vcpu *vcpu, struct kvm_vcpu *second)
{
	pthread_t thread;
	void *pass;
	bool ret;

	if (!run(vcpu, UCALL_SYNC))
		return false;
	pthread_create(&thread, NULL, run_thread, second);
	ret = run(vcpu, UCALL_DONE);
	/* It would wait forever for what the first one does not do any more if that failed */
	*(u64 *)addr_gva2hva(vm, (gva_t)&quit) = 1;
	pthread_join(thread, &pass);

	return ret && pass;
}

static bool run_test(int i, bool use_nacl)
{
	static const u8 causes[] = {
		CAUSE_ILLEGAL, CAUSE_LOAD_ACCESS, CAUSE_STORE_ACCESS, CAUSE_ECALL_U,
		CAUSE_LOAD_PAGE, CAUSE_STORE_PAGE, CAUSE_LOAD_GUEST_PAGE, CAUSE_STORE_GUEST_PAGE,
	};
	struct kvm_vcpu *vcpu, *second;
	struct kvm_vm *vm = nested_vm_create(&vcpu, l1_entry, VM_MEM_SRC_ANONYMOUS);
	gpa_t gpa = addr_gva2gpa(vm, (gva_t)code);
	bool pass;
	int c;

	second = vm_vcpu_add(vm, 1, l1_entry);
	vcpu_init_vector_tables(second);
	nacl_add_memory(vm);
	map_user(vm, USER_CODE, gpa);
	for (c = 0; c < ARRAY_SIZE(causes); c++)
		vm_install_exception_handler(vm, causes[c], l1_trap);

#define HAS(__ext)	__vcpu_has_isa_ext(vcpu, KVM_RISCV_ISA_EXT_##__ext)
	*(u64 *)addr_gva2hva(vm, (gva_t)&has_adue) = HAS(SVADU) && !HAS(SVADE);
	*(u64 *)addr_gva2hva(vm, (gva_t)&has_svinval) = HAS(SVINVAL);
	*(u64 *)addr_gva2hva(vm, (gva_t)&has_zawrs) = HAS(ZAWRS);
	*(u64 *)addr_gva2hva(vm, (gva_t)&code_gpa) = gpa;
	if (use_nacl) {
		vcpu_set_reg(vcpu, NACL_REG(features), BIT(NR_FEATS) - 1);
		vcpu_set_reg(second, NACL_REG(features), BIT(NR_FEATS) - 1);
	}
	vcpu_args_set(vcpu, 2, tests[i].l1, use_nacl && !tests[i].l1_second);
	vcpu_args_set(second, 2, tests[i].l1_second, use_nacl);

	pass = tests[i].l1_second ? run_both(vm, vcpu, second) : run(vcpu, UCALL_DONE);
	kvm_vm_free(vm);

	return pass;
}

int main(void)
{
	int i;

	ksft_print_header();
	if (!nested_supported())
		ksft_exit_skip("KVM does not offer the H extension, see kvm.nested\n");

	ksft_set_plan(ARRAY_SIZE(tests) * 2);
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		ksft_test_result(run_test(i, false), "%s\n", tests[i].name);
		ksft_test_result(run_test(i, true), "%s, with NACL\n", tests[i].name);
	}
	ksft_finished();
}

//! An assembler for eBPF, with what the programs here need (RFC 9669).

/// One of the machine's registers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Register {
    /// Result of calls and of the program.
    R0 = 0,
    /// First argument; the program's context at the start.
    R1,
    /// Second argument.
    R2,
    /// Scratch, lost in calls.
    R3,
    /// Scratch, lost in calls.
    R4,
    /// Scratch, lost in calls.
    R5,
    /// Kept across calls.
    R6,
    /// Kept across calls.
    R7,
}

/// Width of a load or store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Width {
    /// 4 bytes.
    Word = 0x00,
    /// 2 bytes.
    Half = 0x08,
    /// 1 byte.
    Byte = 0x10,
    /// 8 bytes.
    Double = 0x18,
}

/// When to jump; unsigned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum If {
    Greater = 0x20,
    NotEqual = 0x50,
    Less = 0xa0,
    LessOrEqual = 0xb0,
}

/// Helper functions of the kernel (`enum bpf_func_id`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Helper {
    KtimeGetNs = 5,
    GetSmpProcessorId = 8,
    Redirect = 23,
    RedirectMap = 51,
}

/// What a program answers: `enum xdp_action`, and `TC_ACT_OK`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(super) enum Verdict {
    /// Of a program at the traffic control hook: the packet goes on.
    Continue = 0,
    Drop = 1,
    Pass = 2,
    Transmit = 3,
}

/// A place to jump to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Label(usize);

/// A program in the making.
#[derive(Debug, Default)]
pub(super) struct Assembler {
    code: Vec<[u8; 8]>,
    /// Where each label is, once it is placed.
    labels: Vec<Option<usize>>,
    /// Instructions that jump to labels.
    jumps: Vec<(usize, Label)>,
}

const ADD: u8 = 0x07;
const AND: u8 = 0x57;
const XOR: u8 = 0xa7;
const MOVE: u8 = 0xb7;
const SUBTRACT: u8 = 0x17;
const SHIFT_RIGHT: u8 = 0x77;
const SHIFT_LEFT: u8 = 0x67;
/// Operand is a register, not a constant.
const REGISTER: u8 = 0x08;

impl Assembler {
    fn emit(&mut self, code: u8, to: Register, from: u8, offset: i16, constant: i32) {
        let mut bytes = [0; 8];
        bytes[0] = code;
        bytes[1] = from << 4 | to as u8;
        bytes[2..4].copy_from_slice(&offset.to_le_bytes());
        bytes[4..].copy_from_slice(&constant.to_le_bytes());
        self.code.push(bytes);
    }

    /// `to = from`
    pub(super) fn copy(&mut self, to: Register, from: Register) {
        self.emit(MOVE | REGISTER, to, from as u8, 0, 0);
    }

    /// `to = constant`
    pub(super) fn set(&mut self, to: Register, constant: i32) {
        self.emit(MOVE, to, 0, 0, constant);
    }

    /// `to = constant`, of 64 bits
    pub(super) fn set_double(&mut self, to: Register, constant: u64) {
        self.double(to, 0, constant as i32, (constant >> 32) as i32);
    }

    /// `to =` address of the first value of an array map
    pub(super) fn map_value(&mut self, to: Register, map: i32) {
        const PSEUDO_MAP_VALUE: u8 = 2;
        self.double(to, PSEUDO_MAP_VALUE, map, 0);
    }

    /// `to =` a map, as helper functions take it
    pub(super) fn map(&mut self, to: Register, map: i32) {
        const PSEUDO_MAP: u8 = 1;
        self.double(to, PSEUDO_MAP, map, 0);
    }

    fn double(&mut self, to: Register, kind: u8, low: i32, high: i32) {
        self.emit(0x18, to, kind, 0, low);
        self.emit(0, Register::R0, 0, 0, high);
    }

    /// `to += constant`
    pub(super) fn add(&mut self, to: Register, constant: i32) {
        self.emit(ADD, to, 0, 0, constant);
    }

    /// `to += from`
    pub(super) fn add_register(&mut self, to: Register, from: Register) {
        self.emit(ADD | REGISTER, to, from as u8, 0, 0);
    }

    /// `to -= from`
    pub(super) fn subtract(&mut self, to: Register, from: Register) {
        self.emit(SUBTRACT | REGISTER, to, from as u8, 0, 0);
    }

    /// `to &= constant`
    pub(super) fn and(&mut self, to: Register, constant: i32) {
        self.emit(AND, to, 0, 0, constant);
    }

    /// `to >>= constant`
    pub(super) fn shift_right(&mut self, to: Register, constant: i32) {
        self.emit(SHIFT_RIGHT, to, 0, 0, constant);
    }

    /// `to <<= constant`
    pub(super) fn shift_left(&mut self, to: Register, constant: i32) {
        self.emit(SHIFT_LEFT, to, 0, 0, constant);
    }

    /// `to ^= constant`
    pub(super) fn xor(&mut self, to: Register, constant: i32) {
        self.emit(XOR, to, 0, 0, constant);
    }

    /// Low 16 bits of `to` in network byte order
    pub(super) fn big_endian_half(&mut self, to: Register) {
        self.emit(0xdc, to, 0, 0, 16);
    }

    /// `to = *(from + offset)`
    pub(super) fn load(&mut self, width: Width, to: Register, from: Register, offset: i16) {
        self.emit(0x61 | width as u8, to, from as u8, offset, 0);
    }

    /// `*(to + offset) = from`
    pub(super) fn store(&mut self, width: Width, to: Register, offset: i16, from: Register) {
        self.emit(0x63 | width as u8, to, from as u8, offset, 0);
    }

    /// `*(to + offset) += from`, atomically, 8 bytes
    pub(super) fn atomic_add(&mut self, to: Register, offset: i16, from: Register) {
        self.emit(0xc3 | Width::Double as u8, to, from as u8, offset, 0);
    }

    /// Calls the kernel; arguments are in R1 to R5, the result in R0.
    pub(super) fn call(&mut self, helper: Helper) {
        self.emit(0x85, Register::R0, 0, 0, helper as i32);
    }

    /// Ends the program.
    pub(super) fn answer(&mut self, verdict: Verdict) {
        self.set(Register::R0, verdict as i32);
        self.answer_result();
    }

    /// Ends the program with what is in R0.
    pub(super) fn answer_result(&mut self) {
        self.emit(0x95, Register::R0, 0, 0, 0);
    }

    /// A label to be placed later.
    pub(super) fn label(&mut self) -> Label {
        self.labels.push(None);
        Label(self.labels.len() - 1)
    }

    /// Places a label before the next instruction.
    pub(super) fn place(&mut self, label: Label) {
        self.labels[label.0] = Some(self.code.len());
    }

    /// `if a <condition> b goto label`
    pub(super) fn jump_if(&mut self, a: Register, condition: If, b: Register, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(0x05 | REGISTER | condition as u8, a, b as u8, 0, 0);
    }

    /// `if a <condition> constant goto label`
    pub(super) fn jump_if_constant(&mut self, a: Register, condition: If, constant: i32, label: Label) {
        self.jumps.push((self.code.len(), label));
        self.emit(0x05 | condition as u8, a, 0, 0, constant);
    }

    /// The program. All labels must have been placed: those that were not lead to an endless loop, which the
    /// kernel refuses.
    pub(super) fn finish(mut self) -> Vec<[u8; 8]> {
        for (from, label) in self.jumps {
            let distance = self.labels[label.0].map_or(-1, |to| to as i64 - from as i64 - 1);
            self.code[from][2..4].copy_from_slice(&(distance as i16).to_le_bytes());
        }
        self.code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_and_jumps() {
        let mut assembler = Assembler::default();
        let end = assembler.label();
        assembler.copy(Register::R6, Register::R1);
        assembler.load(Width::Word, Register::R2, Register::R6, 4);
        assembler.jump_if_constant(Register::R2, If::Greater, 7, end);
        assembler.set_double(Register::R1, 0x1122_3344_5566_7788);
        assembler.place(end);
        assembler.answer(Verdict::Pass);
        let expected: [[u8; 8]; 7] = [
            [0xbf, 0x16, 0, 0, 0, 0, 0, 0],
            [0x61, 0x62, 4, 0, 0, 0, 0, 0],
            [0x25, 0x02, 2, 0, 7, 0, 0, 0],
            [0x18, 0x01, 0, 0, 0x88, 0x77, 0x66, 0x55],
            [0, 0, 0, 0, 0x44, 0x33, 0x22, 0x11],
            [0xb7, 0, 0, 0, 2, 0, 0, 0],
            [0x95, 0, 0, 0, 0, 0, 0, 0],
        ];
        assert_eq!(assembler.finish(), expected);
    }
}

;; A suppressor by hand; see wat_judge.rs, which fills in what begins with an at sign.
(module
  (memory (export "memory") 4)
  (global $heap (mut i32) (i32.const 65536))
  (global $turn (mut i32) (i32.const 0))
  (data (i32.const @base) "@data")

  (func $alloc (param $size i32) (result i32)
    (local $at i32)
    (local.set $at (i32.and (i32.add (global.get $heap) (i32.const 7)) (i32.const -8)))
    (global.set $heap (i32.add (local.get $at) (local.get $size)))
    (memory.fill (local.get $at) (i32.const 0) (local.get $size))
    (local.get $at))

  (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
    (call $alloc (local.get 3)))

  (func (export "stillhouse:rules/suppressor-rule@@contract#describe") (result i32)
    (i32.const @manifest))

  (func (export "stillhouse:rules/suppressor-rule@@contract#configure") (param i32 i32) (result i32)
    (i32.const @configured))

  (func (export "cabi_post_stillhouse:rules/suppressor-rule@@contract#judge") (param i32)
    (global.set $heap (i32.const 65536)))

  (func (export "stillhouse:rules/suppressor-rule@@contract#judge")
      (param $rows i32) (param $columns i32) (param $count i32)
      ;; 0.1 has no memos: there these are locals, and 0.
      (@memos $memo_offsets i32) (@memos $memo_count i32) (@memos $memo i32) (@memos $memo_bytes i32)
      (result i32)
    (local $offsets i32) (local $data i32) (local $row i32) (local $c i32) (local $none i32)
    (local $verdict i32) (local $until i32) (local $severity i32) (local $answer i32)
    (local $left_offsets i32) (local $left i32) (local $end i32) (local $old i32) (local $old_bytes i32)
    (local.set $offsets (i32.load offset=4 (local.get $columns)))
    (local.set $data (i32.load offset=12 (local.get $columns)))
    (local.set $verdict (call $alloc (local.get $rows)))
    (local.set $until (call $alloc (i32.mul (local.get $rows) (i32.const 8))))
    (local.set $severity (call $alloc (local.get $rows)))
    (local.set $left_offsets
      (call $alloc (i32.mul (i32.add (local.get $rows) (i32.const 1)) (i32.const 4))))
    (local.set $left (call $alloc (i32.mul (local.get $rows) (i32.const 16))))
    (local.set $answer (call $alloc (i32.const 64)))
    (local.set $none (i32.eqz (local.get $memo_count)))
    (block $done
      (loop $next
        (br_if $done (i32.ge_u (local.get $row) (local.get $rows)))
        (local.set $c (i32.const 63))
        (if (i32.ne (i32.load (local.get $offsets)) (i32.load offset=4 (local.get $offsets)))
          (then (local.set $c
            (i32.load8_u (i32.add (local.get $data) (i32.load (local.get $offsets)))))))
        (if (i32.eq (local.get $c) (i32.const 116)) (then unreachable)) ;; t
        (if (i32.eq (local.get $c) (i32.const 110)) (then (local.set $none (i32.const 1)))) ;; n
        (if (local.get $memo_count)
          (then
            ;; The letter, then up to three bytes of what was.
            (i32.store8 (i32.add (local.get $left) (local.get $end)) (local.get $c))
            (if (i32.eq (local.get $c) (i32.const @impure))
              (then
                (i32.store8 (i32.add (local.get $left) (local.get $end)) (global.get $turn))
                (global.set $turn (i32.xor (global.get $turn) (i32.const 1)))))
            (local.set $end (i32.add (local.get $end) (i32.const 1)))
            (local.set $old (i32.load (local.get $memo_offsets)))
            (local.set $old_bytes (i32.sub (i32.load offset=4 (local.get $memo_offsets)) (local.get $old)))
            (if (i32.gt_u (local.get $old_bytes) (i32.const 3)) (then (local.set $old_bytes (i32.const 3))))
            (memory.copy
              (i32.add (local.get $left) (local.get $end))
              (i32.add (local.get $memo) (local.get $old))
              (local.get $old_bytes))
            (local.set $end (i32.add (local.get $end) (local.get $old_bytes)))
            (local.set $memo_offsets (i32.add (local.get $memo_offsets) (i32.const 4)))
            (if (i32.eq (local.get $c) (i32.const 111)) ;; o
              (then (local.set $end (i32.add (local.get $end) (i32.const 8)))))))
        (local.set $row (i32.add (local.get $row) (i32.const 1)))
        (local.set $offsets (i32.add (local.get $offsets) (i32.const 4)))
        (i32.store
          (i32.add (local.get $left_offsets) (i32.mul (local.get $row) (i32.const 4)))
          (select (i32.const 100000) (local.get $end) (i32.eq (local.get $c) (i32.const 102)))) ;; f
        (br $next)))
    (i32.store offset=0 (local.get $answer) (local.get $verdict))
    (i32.store offset=4 (local.get $answer) (local.get $rows))
    (i32.store offset=8 (local.get $answer) (local.get $until))
    (i32.store offset=12 (local.get $answer) (local.get $rows))
    (i32.store offset=16 (local.get $answer) (local.get $severity))
    (i32.store offset=20 (local.get $answer) (local.get $rows))
    ;; No reasons. Every list points to something aligned.
    (i32.store offset=24 (local.get $answer) (local.get $left_offsets))
    (i32.store offset=32 (local.get $answer) (local.get $left_offsets))
    (i32.store offset=40 (local.get $answer) (local.get $left))
    (i32.store offset=48 (local.get $answer) (local.get $left_offsets))
    (i32.store offset=56 (local.get $answer) (local.get $left))
    (if (i32.eqz (local.get $none))
      (then
        (i32.store offset=52 (local.get $answer) (i32.add (local.get $rows) (i32.const 1)))
        (i32.store offset=60 (local.get $answer) (local.get $end))))
    (local.get $answer))
)

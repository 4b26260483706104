#!/usr/bin/perl
# The largest of each row's numbers, in Perl: the whole of Salver's framed protocol, no library.
use strict;
use warnings;

binmode STDIN;
binmode STDOUT;
$| = 1;

sub put {
    my ($head, $body) = @_;
    print pack('a4 V V', 'SLVR', length $head, length $body), $head, $body;
}

put("hello\t1\ninput\tx\tFP64\t-1,-1\noutput\tlargest\tFP64\t-1\nbatchable\tyes", '');
while (read(STDIN, my $prefix, 12) == 12) {
    my ($mark, $head_bytes, $body_bytes) = unpack 'a4 V V', $prefix;
    read(STDIN, my $head, $head_bytes);
    read(STDIN, my $body, $body_bytes);
    my @lines = map { [split /\t/, $_] } split /\n/, $head;
    my ($kind, $id) = @{$lines[0]};
    if ($kind eq 'ping') { put("pong\t$id", ''); next }
    next unless $kind eq 'request';

    my ($input) = grep { $_->[0] eq 'input' } @lines;
    my ($rows, $columns) = split /,/, $input->[3];
    my @values = unpack 'd<*', $body;
    if (grep { $_ != $_ } @values) { put("error\t$id\tinput\tx has NaN: send numbers", ''); next }
    my @largest;
    for my $row (0 .. $rows - 1) {
        my ($most) = sort { $b <=> $a } @values[$row * $columns .. ($row + 1) * $columns - 1];
        push @largest, $most;
    }
    my $answer = pack 'd<*', @largest;
    put("answer\t$id\noutput\tlargest\tFP64\t$rows\t" . length $answer, $answer);
}

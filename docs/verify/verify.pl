#!/usr/bin/perl
# Verifies a delivery that is signed by "sign standard". Perl 5.14, no module of others.
# usage: perl verify.pl <secret> <webhook-id> <webhook-timestamp> <webhook-signature> <body
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256 sha256);
use MIME::Base64 qw(decode_base64 encode_base64);

# $body is as it came, before anything has parsed it.
sub genuine {
    my ($secret, $id, $timestamp, $signatures, $body) = @_;
    return 0 unless $timestamp =~ /\A[0-9]+\z/ && abs(time - $timestamp) <= 300;    # somebody may have recorded it
    $secret =~ s/\Awhsec_//;
    my $right = 'v1,' . encode_base64(hmac_sha256("$id.$timestamp.$body", decode_base64($secret)), '');

    # Several may stand there while a secret changes; one must be right. Digests are compared, so
    # that the time that it takes tells nothing.
    return scalar grep { sha256($_) eq sha256($right) } split / /, $signatures;
}

binmode STDIN;
my $body = do { local $/; <STDIN> };
exit(genuine(@ARGV[0 .. 3], defined $body ? $body : '') ? 0 : 1);

// nullsrv: an S3-shaped sink and source for measuring clients, one thread per connection, loopback only.
// Bodies are read and dropped; GET serves a fixed pattern of the size that was put. No storage, no authorization, no
// checksums, no conditions: it is "S3 that costs nothing", so what a client takes against it is the client's own cost.
// benchmarks/artifacts.py compiles it with cc into a temporary folder; by hand: cc -O2 -pthread nullsrv.c -o nullsrv; ./nullsrv PORT
#define _GNU_SOURCE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>
#include <errno.h>
#include <pthread.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#define NB 65536
typedef struct E{char*k;long long sz;struct E*n;}E;
static E*tab[NB];static pthread_mutex_t mu=PTHREAD_MUTEX_INITIALIZER;
static unsigned h(const char*s){unsigned x=5381;while(*s)x=x*33^(unsigned char)*s++;return x%NB;}
static void put(const char*k,long long sz,int add){pthread_mutex_lock(&mu);unsigned i=h(k);E*e;for(e=tab[i];e;e=e->n)if(!strcmp(e->k,k))break;
 if(!e){e=calloc(1,sizeof*e);e->k=strdup(k);e->n=tab[i];tab[i]=e;e->sz=0;} if(add)e->sz+=sz;else e->sz=sz;pthread_mutex_unlock(&mu);}
static long long get(const char*k){long long r=-1;pthread_mutex_lock(&mu);for(E*e=tab[h(k)];e;e=e->n)if(!strcmp(e->k,k)){r=e->sz;break;}pthread_mutex_unlock(&mu);return r;}
static char*src;static const long SRC=1<<20;
static int wr(int fd,const char*b,long n){while(n>0){long w=send(fd,b,n,MSG_NOSIGNAL);if(w<=0){if(errno==EINTR)continue;return -1;}b+=w;n-=w;}return 0;}
static const char*DATE="Last-Modified: Mon, 23 Nov 2026 00:00:00 GMT\r\n";
static int reply(int fd,int code,const char*hdr,const char*body){char b[4096];const char*t=code==200?"OK":code==206?"Partial Content":code==204?"No Content":code==404?"Not Found":"X";
 int n=snprintf(b,sizeof b,"HTTP/1.1 %d %s\r\nServer: nullsrv\r\nx-amz-request-id: 1\r\n%sContent-Length: %zu\r\n%s\r\n%s",code,t,hdr,strlen(body),*body?"Content-Type: application/xml\r\n":"",body);return wr(fd,b,n);}
static char*hd(char*req,const char*name){size_t l=strlen(name);for(char*p=strstr(req,"\r\n");p;p=strstr(p+2,"\r\n"))if(!strncasecmp(p+2,name,l)&&p[2+l]==':'){p+=3+l;while(*p==' ')p++;return p;}return 0;}
static void*conn(void*a){int fd=(long)a;long cap=1<<18;char*buf=malloc(cap+1);long have=0;
 for(;;){char*e=0;for(;;){buf[have]=0;if(have&&(e=strstr(buf,"\r\n\r\n")))break;if(have>=cap)goto out;long r=recv(fd,buf+have,cap-have,0);if(r<=0)goto out;have+=r;}
  long hl=e+4-buf;char req[16384];if(hl>=(long)sizeof req)goto out;memcpy(req,buf,hl);req[hl]=0;
  long long cl=0;char*x=hd(req,"content-length");if(x)cl=atoll(x);int chunked=0;x=hd(req,"transfer-encoding");if(x&&!strncasecmp(x,"chunked",7))chunked=1;
  x=hd(req,"expect");if(x&&!strncasecmp(x,"100",3))if(wr(fd,"HTTP/1.1 100 Continue\r\n\r\n",25))goto out;
  long long dec=-1;x=hd(req,"x-amz-decoded-content-length");if(x)dec=atoll(x);
  long long rngA=-1,rngB=-1;x=hd(req,"range");if(x&&!strncasecmp(x,"bytes=",6)){rngA=atoll(x+6);char*d=strchr(x,'-');if(d&&d[1]>='0'&&d[1]<='9')rngB=atoll(d+1);}
  long inb=have-hl;char first[2048];int fb=0;
  if(!chunked){long take=inb<cl?inb:(long)cl;fb=take<2047?take:2047;memcpy(first,buf+hl,fb);first[fb]=0;memmove(buf,buf+hl+take,inb-take);have=inb-take;long long left=cl-take;
   while(left>0){long r=recv(fd,buf,left<cap?left:cap,0);if(r<=0)goto out;left-=r;}}
  else{ // chunked: read until 0\r\n\r\n (simple tail scan)
   memmove(buf,buf+hl,inb);have=inb;char tail[8]={0};long long tot=0;for(;;){ if(have>=5){char*t=buf+have-5;if(!memcmp(t,"0\r\n\r\n",5)){tot+=have;break;}}
    tot+=have>5?have-5:0;if(have>5){memmove(buf,buf+have-5,5);have=5;}long r=recv(fd,buf+have,cap-have,0);if(r<=0)goto out;have+=r;}(void)tail;have=0;cl=tot;}
  char*m=req;char*u=strchr(m,' ');if(!u)goto out;*u++=0;char*v=strchr(u,' ');if(!v)goto out;*v=0;char*q=strchr(u,'?');if(q)*q++=0;
  long long sz=dec>=0?dec:cl;
  if(!strcmp(m,"PUT")){if(q&&strstr(q,"partNumber")){put(u,sz,1);if(reply(fd,200,"ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n",""))goto out;}
   else{put(u,sz,0);if(reply(fd,200,"ETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\n",""))goto out;}}
  else if(!strcmp(m,"POST")){const char*X="<?xml version=\"1.0\"?>";char b[2048];
   if(q&&!strncmp(q,"uploads",7)){put(u,0,0);snprintf(b,sizeof b,"%s<InitiateMultipartUploadResult><Bucket>b</Bucket><Key>%s</Key><UploadId>1</UploadId></InitiateMultipartUploadResult>",X,u);}
   else if(q&&strstr(q,"uploadId"))snprintf(b,sizeof b,"%s<CompleteMultipartUploadResult><Location>x</Location><Bucket>b</Bucket><Key>%s</Key><ETag>\"d41d8cd98f00b204e9800998ecf8427e-1\"</ETag></CompleteMultipartUploadResult>",X,u);
   else snprintf(b,sizeof b,"%s<DeleteResult></DeleteResult>",X);
   if(reply(fd,200,"",b))goto out;}
  else if(!strcmp(m,"DELETE")){if(reply(fd,204,"",""))goto out;}
  else if(!strcmp(m,"GET")&&q&&(strstr(q,"list-type")||strstr(q,"location")||strstr(q,"prefix"))){if(reply(fd,200,"","<?xml version=\"1.0\"?><ListBucketResult><Name>b</Name><KeyCount>0</KeyCount><MaxKeys>1000</MaxKeys><IsTruncated>false</IsTruncated></ListBucketResult>"))goto out;}
  else{int head=!strcmp(m,"HEAD");long long s=get(u);
   if(s<0){ if(strchr(u+1,'/')){ if(head){char b[256];int n=snprintf(b,sizeof b,"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");if(wr(fd,b,n))goto out;}else if(reply(fd,404,"","<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code></Error>"))goto out;} else if(reply(fd,200,"",""))goto out; continue;}
   long long A=0,B=s-1;int part=0;if(rngA>=0){part=1;A=rngA;if(rngB>=0&&rngB<B)B=rngB;}
   char b[1024],cr[128]="";if(part)snprintf(cr,sizeof cr,"Content-Range: bytes %lld-%lld/%lld\r\n",A,B,s);
   int n=snprintf(b,sizeof b,"HTTP/1.1 %d OK\r\nServer: nullsrv\r\n%sETag: \"d41d8cd98f00b204e9800998ecf8427e\"\r\nAccept-Ranges: bytes\r\nContent-Type: binary/octet-stream\r\n%sContent-Length: %lld\r\n\r\n",part?206:200,DATE,cr,B-A+1);
   if(wr(fd,b,n))goto out;if(!head){long long left=B-A+1;while(left>0){long k=left<SRC?left:SRC;if(wr(fd,src,k))goto out;left-=k;}}}
 }
 out:free(buf);close(fd);return 0;}
int main(int c,char**v){int port=atoi(v[1]);src=malloc(SRC);unsigned z=1;for(long i=0;i<SRC;i++){z=z*1664525+1013904223;src[i]=z>>24;}
 int s=socket(AF_INET,SOCK_STREAM,0),o=1;setsockopt(s,SOL_SOCKET,SO_REUSEADDR,&o,4);struct sockaddr_in a={.sin_family=AF_INET,.sin_port=htons(port)};a.sin_addr.s_addr=htonl(INADDR_LOOPBACK);
 if(bind(s,(void*)&a,sizeof a)||listen(s,1024)){perror("bind");return 1;}
 for(;;){int fd=accept(s,0,0);if(fd<0)continue;setsockopt(fd,IPPROTO_TCP,TCP_NODELAY,&o,4);pthread_t t;pthread_attr_t at;pthread_attr_init(&at);pthread_attr_setdetachstate(&at,1);pthread_attr_setstacksize(&at,1<<18);pthread_create(&t,&at,conn,(void*)(long)fd);pthread_attr_destroy(&at);}
}
